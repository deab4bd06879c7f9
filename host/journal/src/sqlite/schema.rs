//! The tables, and the steps from each version of the file to the next. Owns the version; deliberately runs nothing.

/// What makes each version of the file from the one before it. The first step starts from an empty file. The number of
/// steps is today's version. A change of [`Entry`](crate::Entry) is a step as well.
pub(super) const STEPS: [&str; 5] = [SCHEMA, FROM_1, SIGN_IN, FROM_3, FROM_4];

/// `entry` is JSON: it is read and written as a whole. Only the other columns are searched.
const SCHEMA: &str = "CREATE TABLE session (
    id TEXT NOT NULL PRIMARY KEY,
    broker TEXT NOT NULL,
    instance TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    lease_ends INTEGER NOT NULL, -- milliseconds since 1970
    entry TEXT NOT NULL
) STRICT";

/// From version 1, which knew only where storage is mounted. No broker can go on with such a mount.
const FROM_1: &str = "UPDATE session SET entry = json_set(entry, '$.storage', json((
    SELECT json_group_array(json_object('id', '', 'provider', '', 'settings', '', 'path', value,
        'read_only', json('false'), 'begun', 0, 'grant', null)) FROM json_each(entry, '$.storage'))))";

/// From version 3, in which sessions had no names.
const FROM_3: &str = "UPDATE session SET entry = json_set(entry, '$.name', NULL)";

/// From version 4, which did not know who drives.
const FROM_4: &str = "UPDATE session SET entry = json_set(entry, '$.driver', null)";

/// From version 2, which kept no sign-ins. Times are milliseconds since 1970.
const SIGN_IN: &str = "CREATE TABLE sign_in (
    cookie BLOB NOT NULL PRIMARY KEY,
    token BLOB NOT NULL,
    since INTEGER NOT NULL,
    used INTEGER NOT NULL
) STRICT";
