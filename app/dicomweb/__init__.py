"""Speaks with the one configured DICOMweb server (PS3.18): searches, fetches, stores. Nothing of ours but settings'
values goes in, nothing of HTTP's problems comes out.
"""
