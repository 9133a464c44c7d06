//! The digest of a row: what tells two versions of it apart.
//!
//! The first 16 bytes of BLAKE3 over the payload's values in the order of the table's `PAYLOAD` columns, each as a tag
//! and its bytes: `N` for NULL, `I` and `R` with 8 little-endian bytes, `T` and `B` with a 4-byte length before them.
//! `rev`, `created_at`, `updated_at` and `provenance` are no payload: two machines that saw the same call agree.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Row, ToSql};

/// A row's digest.
pub(crate) type Digest = [u8; 16];

/// The digest of values about to be bound.
pub(crate) fn of_params(params: &[&dyn ToSql]) -> rusqlite::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    for param in params {
        match param.to_sql()? {
            ToSqlOutput::Borrowed(value) => update(&mut hasher, value),
            ToSqlOutput::Owned(value) => update(&mut hasher, ValueRef::from(&value)),
            _ => return Err(rusqlite::Error::InvalidQuery),
        }
    }
    Ok(finish(&hasher))
}

/// The digest of the first `columns` values of a row that was read.
pub(crate) fn of_row(row: &Row<'_>, columns: usize) -> rusqlite::Result<Digest> {
    let mut hasher = blake3::Hasher::new();
    for index in 0..columns {
        update(&mut hasher, row.get_ref(index)?);
    }
    Ok(finish(&hasher))
}

fn finish(hasher: &blake3::Hasher) -> Digest {
    let mut digest = [0; 16];
    hasher.finalize_xof().fill(&mut digest);
    digest
}

fn update(hasher: &mut blake3::Hasher, value: ValueRef<'_>) {
    let mut sized = |tag: &[u8], bytes: &[u8]| {
        hasher.update(tag);
        // SQLite holds no value of 4 GiB: its own limit is 1 GB.
        hasher.update(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
        hasher.update(bytes);
    };
    match value {
        ValueRef::Text(bytes) => sized(b"T", bytes),
        ValueRef::Blob(bytes) => sized(b"B", bytes),
        ValueRef::Null => {
            hasher.update(b"N");
        }
        ValueRef::Integer(value) => {
            hasher.update(b"I").update(&value.to_le_bytes());
        }
        ValueRef::Real(value) => {
            hasher.update(b"R").update(&value.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_do_not_run_into_each_other() {
        assert_ne!(
            of_params(&[&"ab", &"c"]).unwrap(),
            of_params(&[&"a", &"bc"]).unwrap()
        );
        assert_ne!(
            of_params(&[&1_i64]).unwrap(),
            of_params(&[&1.0_f64]).unwrap()
        );
        assert_ne!(
            of_params(&[&"N"]).unwrap(),
            of_params(&[&None::<i64>]).unwrap()
        );
    }
}
