"""What a server promised, after crashes, kills and requests that are made up.

frames     rounds of a server that is killed while producers send frames
"""
