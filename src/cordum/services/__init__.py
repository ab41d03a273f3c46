"""The processes of Cordum, one package each. They meet on the bus and in the store, never by import."""
