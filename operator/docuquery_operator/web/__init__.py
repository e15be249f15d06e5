"""What people and programs outside see: processes of their own, which read and never act."""
