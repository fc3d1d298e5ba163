"""What stands between the network and the routes: who may ask from where, under which name, and in which form.

Nothing here knows of orders.
"""
