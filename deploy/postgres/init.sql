-- Run once, when the volume is new; the database of rerankd itself is made by the image (POSTGRES_DB).
CREATE DATABASE mlflow;
