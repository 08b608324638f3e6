-- Names that are keywords, have spaces or quotes in them, or capitals beyond ASCII.
CREATE TABLE [order] (
    [group] TEXT NOT NULL,
    `select` INT NOT NULL,
    "from" TEXT COLLATE NOCASE DEFAULT 'a',
    "a ""b""" NUMERIC(10, 2) DEFAULT 1.10,
    PRIMARY KEY ("group", `select` DESC)
);
CREATE INDEX IF NOT EXISTS [order by] ON [order] ("from" COLLATE NOCASE, "a ""b""" DESC) WHERE "a ""b""" > 0;
CREATE TABLE "Größe Ü" ("Ключ" TEXT NOT NULL UNIQUE PRIMARY KEY, "Я" TEXT DEFAULT '☃', "длина" INT AS (length("Я")));
CREATE INDEX "Größe Ä" ON "Größe Ü" ("длина", lower("Я"));
