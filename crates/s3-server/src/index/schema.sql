CREATE TABLE bucket (
    name TEXT PRIMARY KEY,
    created INTEGER NOT NULL -- Unix milliseconds
) WITHOUT ROWID, STRICT;

-- AUTOINCREMENT: an id is never used again, so a reader's pin can't meet a later object.
CREATE TABLE object (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified INTEGER NOT NULL, -- Unix milliseconds
    headers TEXT NOT NULL, -- JSON
    checksums TEXT NOT NULL, -- JSON
    checksum_type TEXT,
    upload TEXT, -- the multipart upload it came from, so that Complete can be repeated
    UNIQUE (bucket, key)
) STRICT;

-- The blobs that an object's content is made of, in order.
CREATE TABLE extent (
    object INTEGER NOT NULL,
    position INTEGER NOT NULL,
    first INTEGER NOT NULL, -- offset of its first byte in the object
    size INTEGER NOT NULL,
    blob TEXT NOT NULL,
    PRIMARY KEY (object, position)
) WITHOUT ROWID, STRICT;

CREATE TABLE upload (
    id TEXT PRIMARY KEY, -- sorts by time
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    initiated INTEGER NOT NULL, -- Unix milliseconds
    headers TEXT NOT NULL, -- JSON
    algorithm TEXT,
    checksum_type TEXT
) WITHOUT ROWID, STRICT;

CREATE INDEX upload_by_key ON upload (bucket, key, id);

CREATE TABLE part (
    upload TEXT NOT NULL,
    number INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modified INTEGER NOT NULL, -- Unix milliseconds
    checksums TEXT NOT NULL, -- JSON
    blob TEXT NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID, STRICT;
