"""The payment gateway: its protocol, its adapters, and a simulator of one for development and tests."""
