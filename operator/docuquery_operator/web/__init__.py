"""What people and programs outside see, and what they say: processes of their own, which never act."""
