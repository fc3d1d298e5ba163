"""What an order is: pure data, LIFECYCLE tables, money and errors. No I/O."""
