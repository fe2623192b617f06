//! Query options and pages: `$filter`, `$select`, `$top`, `$skip`, `$orderby`, `$count`, `@odata.nextLink`.

use super::{
    filter::Expr,
    reply::{Call, Fail, Reply},
};
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use url::form_urlencoded;

/// The `OData` options of a call.
#[derive(Debug, Default)]
pub(super) struct Options {
    pub(super) filter: Option<Expr>,
    pub(super) select: Option<Vec<String>>,
    pub(super) expand: Option<String>,
    pub(super) order: Option<(String, bool)>,
    pub(super) count: bool,
    pub(super) top: Option<usize>,
    pub(super) skip: usize,
}

impl Options {
    /// Reads the options; `filterable` are the properties the collection can filter by.
    pub(super) fn of(call: &Call<'_>, filterable: &[&str]) -> Result<Self, Fail> {
        let mut options = Options::default();
        if call.query.is_empty() {
            return Ok(options);
        }
        for (name, value) in form_urlencoded::parse(call.query.as_bytes()) {
            match name.as_ref() {
                "$filter" => options.filter = Some(Expr::parse(&value, filterable)?),
                "$select" => options.select = Some(value.split(',').map(|it| it.trim().to_owned()).collect()),
                "$expand" => options.expand = Some(value.into_owned()),
                "$orderby" => {
                    let (field, way) = value.split_once(' ').unwrap_or((&value, "asc"));
                    options.order = Some((field.to_owned(), way.trim() == "desc"));
                }
                "$count" => options.count = value == "true",
                "$top" => options.top = Some(number(&value, "$top")?),
                "$skip" | "$skiptoken" => options.skip = number(&value, "$skip")?,
                _ => {}
            }
        }
        if options.top == Some(0) {
            return Err(Fail::bad("Invalid value specified for property '$top'."));
        }
        Ok(options)
    }

    pub(super) fn admits(&self, row: &Value) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.admits(row))
    }
}

fn number(text: &str, name: &str) -> Result<usize, Fail> {
    text.parse().map_err(|_| Fail::bad(format!("Invalid value '{text}' for query option '{name}'.")))
}

/// Page sizes of a collection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    pub(super) default: usize,
    pub(super) max: usize,
}

/// Cuts one page out of `rows`, renders it, and links to the next.
pub(super) fn page<T>(
    rows: Vec<T>,
    options: &Options,
    call: &Call<'_>,
    sizes: Sizes,
    context: &str,
    render: impl FnMut(T) -> Value,
) -> Reply {
    let total = rows.len();
    let top = options.top.unwrap_or(sizes.default).min(sizes.max);
    let value: Vec<Value> = rows.into_iter().skip(options.skip).take(top).map(render).collect();
    let mut body = Map::new();
    body.insert("@odata.context".to_owned(), json!(context_url(call, context)));
    if options.count {
        body.insert("@odata.count".to_owned(), json!(total));
    }
    let next = options.skip.saturating_add(value.len());
    if next < total && !value.is_empty() {
        body.insert("@odata.nextLink".to_owned(), json!(next_link(call, next)));
    }
    body.insert("value".to_owned(), Value::Array(value));
    Reply::ok(Value::Object(body))
}

pub(super) fn context_url(call: &Call<'_>, context: &str) -> String {
    format!("http://{}/v1.0/$metadata#{context}", call.host)
}

fn next_link(call: &Call<'_>, next: usize) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (name, value) in form_urlencoded::parse(call.query.as_bytes()) {
        if !matches!(name.as_ref(), "$skiptoken" | "$skip") {
            query.append_pair(&name, &value);
        }
    }
    query.append_pair("$skiptoken", &next.to_string());
    format!("http://{}{}?{}", call.host, call.path, query.finish())
}

/// Keeps only the selected fields.
pub(super) fn narrow(row: &Value, select: Option<&[String]>) -> Value {
    match (row, select) {
        (Value::Object(fields), Some(names)) => Value::Object(
            fields
                .iter()
                .filter(|(name, _)| name.as_str() == "id" || names.iter().any(|it| it == *name))
                .map(|(name, value)| (name.clone(), value.clone()))
                .collect(),
        ),
        _ => row.clone(),
    }
}

/// Sorts rows by a text field (times in one format, names), newest or last first if `descending`.
pub(super) fn sort_by_text<T>(rows: &mut [T], descending: bool, key: impl Fn(&T) -> Cow<'_, str>) {
    rows.sort_by(|one, other| {
        // Without the zone, "…03" sorts before "…03.4", as it should.
        let order = key(one).trim_end_matches('Z').cmp(key(other).trim_end_matches('Z'));
        if descending { order.reverse() } else { order }
    });
}
