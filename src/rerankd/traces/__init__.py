"""What every ranking was, before and after: kept, found again, replayed on other models, and forgotten.

writer     takes rankings from requests, never in their way
redaction  what is blacked out before anything is kept
store      the tables, and what is read from them;  texts: each text once;  packing: a trace's candidates as bytes
retention  what is forgotten by age, size, tenant or document
feedback   what people made of a ranking
replay     what another model would have made of it
"""
