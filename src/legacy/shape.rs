//! What a statement may be made of: the expressions, functions, types and relations that are taken.
//!
//! Depends on sqlparser's tree. Invariant: whatever is not listed is refused, so that a form which a later parser
//! learns is refused until somebody has looked at it.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use sqlparser::ast::{
    BinaryOperator, DataType, Expr, Function, FunctionArguments, Ident, ObjectName, ObjectNamePart,
    Query, Select, SelectFlavor, SetExpr, Statement, TableFactor, Visitor,
};

use super::error::Refusal;
use super::place::Place;
use super::tokens::{Edits, Side, Tokens, quoted};

/// Functions that both sides have, and that mean the same there.
const FUNCTIONS: &[&str] = &[
    "abs",
    "avg",
    "coalesce",
    "count",
    "dense_rank",
    "first_value",
    "lag",
    "last_value",
    "lead",
    "length",
    "lower",
    "ltrim",
    "max",
    "min",
    "nullif",
    "ntile",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sum",
    "trim",
    "upper",
];
/// Functions of SQLite.
const LOCAL_FUNCTIONS: &[&str] = &[
    "date",
    "datetime",
    "group_concat",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_length",
    "json_extract",
    "json_object",
    "json_type",
    "json_valid",
    "julianday",
    "strftime",
    "substr",
    "substring",
    "total",
    "typeof",
    "unixepoch",
];
/// Functions of PostgreSQL. None of them runs a text as SQL, sets anything, or reads a file or a table.
const CENTRAL_FUNCTIONS: &[&str] = &[
    "array_agg",
    "bool_and",
    "bool_or",
    "concat",
    "concat_ws",
    "current_date",
    "current_timestamp",
    "date_part",
    "date_trunc",
    "greatest",
    "jsonb_agg",
    "jsonb_array_length",
    "jsonb_build_object",
    "jsonb_extract_path_text",
    "jsonb_object_agg",
    "jsonb_typeof",
    "least",
    "now",
    "percentile_cont",
    "percentile_disc",
    "position",
    "split_part",
    "string_agg",
    "strpos",
    "substr",
    "substring",
    "to_char",
    "to_timestamp",
];

/// The functions that a side takes beside those that SQL has as grammar.
pub(super) fn functions(side: Side) -> impl Iterator<Item = &'static str> {
    let own = match side {
        Side::Local => LOCAL_FUNCTIONS,
        Side::Central => CENTRAL_FUNCTIONS,
    };
    FUNCTIONS.iter().chain(own).copied()
}

/// Longest name of a common table expression: the prefix has to fit beside it.
const CTE_NAME_MAX: usize = 40;

/// Goes through a statement, refuses what is not listed, and notes what its relations are replaced with.
#[derive(Debug)]
pub(super) struct Inspector<'a> {
    pub(super) tokens: &'a Tokens,
    pub(super) place: &'a Place,
    pub(super) edits: Edits,
    /// Tokens that name a relation and were looked at.
    pub(super) known: BTreeSet<usize>,
    /// The numbers of the parameters that are added, by what they hold.
    pub(super) extras: Extras,
    ctes: BTreeMap<String, String>,
    statements: usize,
}

/// A value that is added to the given parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extra {
    /// The time of the transaction.
    Now,
    /// A column of the tenant's row in the list.
    Tenant(&'static str),
}

/// The parameters that are added behind the given ones.
#[derive(Debug)]
pub(super) struct Extras {
    given: usize,
    all: Vec<Extra>,
}

impl Extras {
    pub(super) const fn behind(given: usize) -> Self {
        Self {
            given,
            all: Vec::new(),
        }
    }

    /// The number of the parameter that holds this.
    pub(super) fn number(&mut self, extra: Extra) -> usize {
        let at = self.all.iter().position(|known| *known == extra);
        self.given
            + 1
            + at.unwrap_or_else(|| {
                self.all.push(extra);
                self.all.len() - 1
            })
    }

    pub(super) fn into_all(self) -> Vec<Extra> {
        self.all
    }
}

impl<'a> Inspector<'a> {
    pub(super) const fn new(tokens: &'a Tokens, place: &'a Place, extras: Extras) -> Self {
        Self {
            tokens,
            place,
            edits: Edits::new(),
            known: BTreeSet::new(),
            extras,
            ctes: BTreeMap::new(),
            statements: 0,
        }
    }

    fn query(&mut self, query: &Query) -> Result<(), Refusal> {
        let plain = query.locks.is_empty()
            && query.for_clause.is_none()
            && query.settings.is_none()
            && query.format_clause.is_none()
            && query.pipe_operators.is_empty();
        if !plain {
            return Err(Refusal::Shape(
                "a clause behind the query that is not taken",
            ));
        }
        body(&query.body)?;
        for cte in query.with.iter().flat_map(|with| &with.cte_tables) {
            if cte.from.is_some() {
                return Err(Refusal::Shape(
                    "a common table expression that is not taken",
                ));
            }
            let name = folded(&cte.alias.name);
            if Place::is_table(&name) || name.len() > CTE_NAME_MAX {
                return Err(Refusal::Table(name));
            }
            // A name of its own: inside its own definition the plain one would mean a real table.
            let own = quoted(&format!("cte_{name}"));
            let at = self.tokens.index(cte.alias.name.span)?;
            self.edits.instead(at, own.clone());
            self.ctes.insert(name, own);
        }
        Ok(())
    }

    fn factor(&mut self, factor: &TableFactor) -> Result<(), Refusal> {
        match factor {
            TableFactor::Derived { sample: None, .. } | TableFactor::NestedJoin { .. } => Ok(()),
            TableFactor::Table {
                name,
                alias,
                args: None,
                with_hints,
                version: None,
                with_ordinality: false,
                partitions,
                json_path: None,
                sample: None,
                index_hints,
            } if with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty() => {
                let ident = single(name)?;
                let at = self.tokens.index(ident.span)?;
                if !self.known.insert(at) {
                    return Ok(());
                }
                let name = folded(ident);
                let (text, is_cte) = match self.ctes.get(&name) {
                    Some(cte) => (cte.clone(), true),
                    None => (self.place.read(&name, &mut self.extras)?, false),
                };
                self.edits.instead(at, text);
                if alias.is_none() {
                    let alias = if is_cte { folded(ident) } else { name };
                    self.edits.after(at, &format!(" AS {}", quoted(&alias)));
                }
                Ok(())
            }
            _ => Err(Refusal::Shape("a relation that is no plain table")),
        }
    }

    fn expression(&self, expr: &Expr) -> Result<(), Refusal> {
        match expr {
            Expr::BinaryOp {
                op: BinaryOperator::PGCustomBinaryOperator(_) | BinaryOperator::Custom(_),
                ..
            } => Err(Refusal::Shape("an operator by its schema")),
            Expr::Cast {
                data_type,
                format: None,
                ..
            } => data(data_type),
            Expr::TypedString(typed) if !typed.uses_odbc_syntax => data(&typed.data_type),
            Expr::Function(function) => self.function(function),
            Expr::Identifier(_)
            | Expr::CompoundIdentifier(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..)
            | Expr::InList { .. }
            | Expr::InSubquery { .. }
            | Expr::Between { .. }
            | Expr::BinaryOp { .. }
            | Expr::Like { .. }
            | Expr::ILike { .. }
            | Expr::AnyOp { .. }
            | Expr::AllOp { .. }
            | Expr::UnaryOp { .. }
            | Expr::AtTimeZone { .. }
            | Expr::Extract { .. }
            | Expr::Ceil { .. }
            | Expr::Floor { .. }
            | Expr::Position { .. }
            | Expr::Substring { .. }
            | Expr::Trim { .. }
            | Expr::Nested(_)
            | Expr::Value(_)
            | Expr::Case { .. }
            | Expr::Exists { .. }
            | Expr::Subquery(_)
            | Expr::GroupingSets(_)
            | Expr::Cube(_)
            | Expr::Rollup(_)
            | Expr::Tuple(_)
            | Expr::Array(_)
            | Expr::Interval(_)
            | Expr::Wildcard(_)
            | Expr::QualifiedWildcard(..) => Ok(()),
            _ => Err(Refusal::Shape("an expression that is not taken")),
        }
    }

    fn function(&self, function: &Function) -> Result<(), Refusal> {
        let named = || Refusal::Function(function.name.to_string());
        let name = folded(single(&function.name).map_err(|_| named())?);
        let plain = !function.uses_odbc_syntax
            && function.null_treatment.is_none()
            && matches!(function.parameters, FunctionArguments::None)
            && !matches!(function.args, FunctionArguments::Subquery(_));
        if plain && functions(self.place.side()).any(|known| known == name) {
            Ok(())
        } else {
            Err(named())
        }
    }
}

/// What a query may be made of. An INSERT inside a query, and the short form TABLE, are not seen as what they are
/// by whoever goes through expressions and relations.
fn body(body: &SetExpr) -> Result<(), Refusal> {
    let mut open = vec![body];
    while let Some(next) = open.pop() {
        match next {
            SetExpr::Select(_) | SetExpr::Query(_) | SetExpr::Values(_) => {}
            SetExpr::SetOperation { left, right, .. } => open.extend([&**left, &**right]),
            _ => return Err(Refusal::Shape("a statement that writes inside a query")),
        }
    }
    Ok(())
}

fn select(select: &Select) -> Result<(), Refusal> {
    let plain = select.into.is_none()
        && select.top.is_none()
        && select.exclude.is_none()
        && select.select_modifiers.is_none()
        && select.lateral_views.is_empty()
        && select.prewhere.is_none()
        && select.connect_by.is_empty()
        && select.cluster_by.is_empty()
        && select.distribute_by.is_empty()
        && select.sort_by.is_empty()
        && select.qualify.is_none()
        && select.value_table_mode.is_none()
        && matches!(select.flavor, SelectFlavor::Standard);
    if plain {
        Ok(())
    } else {
        Err(Refusal::Shape("a clause of SELECT that is not taken"))
    }
}

/// The types that a value may be turned into. The names of things (`regclass`) and rows of tables are none.
fn data(data_type: &DataType) -> Result<(), Refusal> {
    match data_type {
        DataType::Text
        | DataType::Varchar(_)
        | DataType::Char(_)
        | DataType::Uuid
        | DataType::SmallInt(_)
        | DataType::Int(_)
        | DataType::Integer(_)
        | DataType::Int4(_)
        | DataType::Int8(_)
        | DataType::BigInt(_)
        | DataType::Real
        | DataType::Float(_)
        | DataType::Float8
        | DataType::DoublePrecision
        | DataType::Numeric(_)
        | DataType::Decimal(_)
        | DataType::Bool
        | DataType::Boolean
        | DataType::Date
        | DataType::Timestamp(..)
        | DataType::Interval { .. }
        | DataType::JSON
        | DataType::JSONB => Ok(()),
        _ => Err(Refusal::Shape("a type that is not taken")),
    }
}

/// The one part of a name: no schema is named by a statement.
pub(super) fn single(name: &ObjectName) -> Result<&Ident, Refusal> {
    match name.0.as_slice() {
        [ObjectNamePart::Identifier(ident)] => Ok(ident),
        _ => Err(Refusal::Table(name.to_string())),
    }
}

/// A name as both databases compare it: an unquoted one without regard to case.
pub(super) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() {
        ident.value.clone()
    } else {
        ident.value.to_ascii_lowercase()
    }
}

fn flow(result: Result<(), Refusal>) -> ControlFlow<Refusal> {
    result.map_or_else(ControlFlow::Break, ControlFlow::Continue)
}

impl Visitor for Inspector<'_> {
    type Break = Refusal;

    fn pre_visit_statement(&mut self, _: &Statement) -> ControlFlow<Refusal> {
        self.statements += 1;
        if self.statements > 1 {
            return ControlFlow::Break(Refusal::Shape("a statement inside a statement"));
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_query(&mut self, query: &Query) -> ControlFlow<Refusal> {
        flow(self.query(query))
    }

    fn pre_visit_select(&mut self, of: &Select) -> ControlFlow<Refusal> {
        flow(select(of))
    }

    fn pre_visit_table_factor(&mut self, factor: &TableFactor) -> ControlFlow<Refusal> {
        flow(self.factor(factor))
    }

    fn pre_visit_relation(&mut self, relation: &ObjectName) -> ControlFlow<Refusal> {
        let seen = single(relation).and_then(|ident| self.tokens.index(ident.span));
        flow(seen.and_then(|at| {
            // Every relation is looked at where it stands as a table or as the target; any other is none of ours.
            if self.known.contains(&at) {
                Ok(())
            } else {
                Err(Refusal::Table(relation.to_string()))
            }
        }))
    }

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<Refusal> {
        flow(self.expression(expr))
    }
}
