"""A LangChain chat model that is three: each call goes to the cheapest tier that will do."""
