"""The decoder's step and the beam search's as compiled programs, for processors: optional, and the same results.

A step of a narrow decoder is forty small operations that take longer to call than to compute, and the search after it
two dozen more. `source/` does each in one call: C++ of the standard library alone, which knows nothing of torch and is
given addresses (`library.py`).

    source/decoder.cpp     a step of all beams: products, norms, attention        ◀─ network/native_decoder.py
    source/search.cpp      a step of the search of one beam width                 ◀─ search/native_search.py
    source/products.hpp    weights packed into panels, products of few rows with them
    source/largest.hpp     the best of many candidates, of equal ones those that torch's `topk` takes
    source/simd.hpp        vectors of floats: exp, gelu, sums
    source/threads.hpp     threads that wait for their part of a step
    one_thread.py          what is left to torch, without its threads

It is built with the package, by pip or `make setup`, where there is a g++ for x86 (`pyproject.toml` has the options),
once for each set of instructions; what a processor cannot run is never loaded. Where nothing was built or fits,
`PackedDecoder` and `BeamSearch` do the same by torch. Those, the archive, and `generate` behind them are what tests
hold it to.

A row of a step, a beam, is computed by itself, each sum in one order: unlike by a library's products, what it is given
does not depend on who else is stepped, in bfloat16 neither.
"""
