CREATE TABLE bucket (
    name TEXT PRIMARY KEY,
    create_time INTEGER NOT NULL -- Unix milliseconds
) WITHOUT ROWID, STRICT;

-- AUTOINCREMENT: ids are never reused, so a reader's pin cannot refer to a later object.
CREATE TABLE object (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modify_time INTEGER NOT NULL, -- Unix milliseconds
    headers TEXT NOT NULL, -- JSON
    checksums TEXT NOT NULL, -- JSON
    checksum_type TEXT, -- COMPOSITE or FULL_OBJECT
    upload TEXT, -- the multipart upload it was completed from; makes CompleteMultipartUpload idempotent
    part_count INTEGER, -- NULL unless it was uploaded in parts
    UNIQUE (bucket, key)
) STRICT;

-- The blobs of an object's content, in order. One blob a part if the object was uploaded in parts, else one.
CREATE TABLE extent (
    object INTEGER NOT NULL,
    position INTEGER NOT NULL,
    first INTEGER NOT NULL, -- offset of its first byte in the object
    size INTEGER NOT NULL,
    etag TEXT NOT NULL, -- MD5 of the blob
    checksums TEXT NOT NULL, -- of the blob, JSON
    blob TEXT NOT NULL,
    PRIMARY KEY (object, position)
) WITHOUT ROWID, STRICT;

CREATE TABLE upload (
    id TEXT PRIMARY KEY, -- UUIDv7: sorts by creation time
    bucket TEXT NOT NULL,
    key TEXT NOT NULL,
    create_time INTEGER NOT NULL, -- Unix milliseconds
    headers TEXT NOT NULL, -- JSON
    algorithm TEXT, -- as in x-amz-checksum-algorithm
    checksum_type TEXT -- COMPOSITE or FULL_OBJECT
) WITHOUT ROWID, STRICT;

CREATE INDEX upload_by_key ON upload (bucket, key, id);

CREATE TABLE part (
    upload TEXT NOT NULL,
    number INTEGER NOT NULL,
    size INTEGER NOT NULL,
    etag TEXT NOT NULL,
    modify_time INTEGER NOT NULL, -- Unix milliseconds
    checksums TEXT NOT NULL, -- JSON
    blob TEXT NOT NULL,
    PRIMARY KEY (upload, number)
) WITHOUT ROWID, STRICT;
