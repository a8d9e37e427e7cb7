-- Runs once, when the volume is first created. The image creates the database rerankd itself (POSTGRES_DB).
CREATE DATABASE mlflow;
