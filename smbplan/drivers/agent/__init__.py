"""The part of smbplan that runs on a managed host: read objects, and move them from one state to another.

It is sent over the connection when that opens (nothing is installed), needs Python 3.9 and what comes with Samba, and
ends with the connection. Requests and answers are single lines of JSON. `smbplan.drivers.channel` is the other end.
"""
