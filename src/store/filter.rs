//! Conditions of a query, put together from fixed texts: what a caller gives is only ever bound.

use rusqlite::types::Value;
use uuid::Uuid;

use crate::domain::units::Text;

/// What to search for in texts: 1 to 200 characters.
pub type SearchText = Text<200>;

/// Whether deleted rows are among those asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deleted {
    /// Only rows that are there.
    #[default]
    Without,
    /// Both.
    With,
    /// Only deleted rows.
    Only,
}

/// Conditions that all have to hold, and the values bound in them.
#[derive(Debug)]
pub(super) struct Conditions {
    sql: String,
    values: Vec<Value>,
}

impl Conditions {
    /// Begins with whether deleted rows are wanted.
    pub(super) fn new(deleted: Deleted) -> Self {
        let sql = match deleted {
            Deleted::Without => "deleted_at IS NULL",
            Deleted::With => "1",
            Deleted::Only => "deleted_at IS NOT NULL",
        };
        Self::fixed(sql)
    }

    /// Begins with a condition without a value.
    pub(super) fn fixed(sql: &'static str) -> Self {
        Self {
            sql: sql.to_owned(),
            values: Vec::new(),
        }
    }

    /// Adds a condition in which `{}` stands for the value, where there is one. What is not asked for stays out of
    /// the statement, so that the planner may use the index of what is.
    pub(super) fn and(&mut self, condition: &'static str, value: Option<impl Into<Value>>) {
        if let Some(value) = value {
            self.values.push(value.into());
            let place = format!("?{}", self.values.len());
            self.sql.push_str(" AND ");
            self.sql.push_str(&condition.replace("{}", &place));
        }
    }

    /// Adds that a dashboard is the user's own, public, or shared with the role.
    pub(super) fn and_seen_by(&mut self, user: Value, role: String) {
        self.values.extend([user, Value::Text(role)]);
        let (user, role) = (self.values.len() - 1, self.values.len());
        let seen = format!(
            " AND (user_id = ?{user} OR is_public
                   OR EXISTS (SELECT 1 FROM json_each(shared_with_roles) WHERE value = ?{role}))"
        );
        self.sql.push_str(&seen);
    }

    /// The conditions, to stand after WHERE.
    pub(super) fn sql(&self) -> &str {
        &self.sql
    }

    /// The values, in order.
    pub(super) fn values(&self) -> &[Value] {
        &self.values
    }

    /// How many values are bound so far: the next place is one more.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }
}

/// An id as it is bound.
pub(super) fn id(id: Uuid) -> Value {
    Value::Blob(id.as_bytes().to_vec())
}

/// A pattern for `LIKE … ESCAPE '\'` that finds `text` anywhere: its own wildcards mean themselves.
pub(super) fn containing(text: &SearchText) -> String {
    let mut pattern = String::from("%");
    for character in text.as_str().chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_in_a_search_means_itself() {
        let text = SearchText::parse("search", r"50%_\").unwrap();
        assert_eq!(containing(&text), r"%50\%\_\\%");
    }

    #[test]
    fn a_condition_that_is_not_asked_for_stays_out() {
        let mut conditions = Conditions::new(Deleted::Without);
        conditions.and("a = {}", None::<i64>);
        conditions.and("(b = {} OR c = {})", Some(7));
        conditions.and("d = {}", Some(String::from("x")));
        let expected = "deleted_at IS NULL AND (b = ?1 OR c = ?1) AND d = ?2";
        assert_eq!((conditions.sql(), conditions.len()), (expected, 2));
    }
}
