"""A built-in provider, so that the first conversation needs no account.

It speaks the four wire formats whole and streamed, keeps nothing between requests, and answers from the messages
it is sent: whoever sends it only the newest message and still gets an answer about an earlier one has a gateway
that remembers.
"""

from gateway.demo.app import demo_app as demo_app
