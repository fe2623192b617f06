//! The sign-in page for people: where somebody in front of a browser is a person of the simulated tenant, signs in with a
//! password and is made to change a temporary one.
//!
//! The same rules as every other sign-in, with nothing of Microsoft's look. It has no session: who signed in reads that
//! they did.

use super::{
    Tenant,
    login::{Login, Refusal},
    reply::Call,
    signins::Origin,
};
use crate::http::html::escaped;
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use std::collections::HashMap;
use url::form_urlencoded;

/// Where it is.
pub(super) const PATH: &str = "/sign-in";

/// The password must be changed first, and the new one does not do.
const EXPIRED: u32 = 50_055;
const UNFIT: u32 = 50_142;

const STYLE: &str = "html{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}body{max-width:24rem;margin:3rem auto;\
    padding:0 1rem}label{display:block;margin:.8rem 0}input{display:block;width:100%;box-sizing:border-box;font:inherit;\
    padding:.5rem;margin-top:.2rem}button{font:inherit;padding:.6rem 1.2rem;min-height:2.75rem}.note{border-left:4px solid;\
    padding-left:.7rem}small{opacity:.8}";

impl Tenant {
    /// `GET` shows the form; `POST` signs in.
    pub(super) fn door(&self, call: &Call<'_>) -> Response<Full<Bytes>> {
        let text = if call.method == "POST" { call.raw } else { call.query.as_bytes() };
        let mut fields: HashMap<String, String> = form_urlencoded::parse(text).into_owned().collect();
        let mut field = |name: &str| fields.remove(name).filter(|value| !value.is_empty());
        let user = field("user").unwrap_or_default();
        match call.method {
            "GET" => page(StatusCode::OK, "Sign in", &asking(&user, None)),
            "POST" => {
                let password = field("password").unwrap_or_default();
                let login = Login { user, password, new_password: field("new_password"), origin: Origin::default() };
                answer(&login, self.login(&login).err())
            }
            _ => page(StatusCode::METHOD_NOT_ALLOWED, "Sign in", &asking("", None)),
        }
    }
}

fn answer(login: &Login, refused: Option<Refusal>) -> Response<Full<Bytes>> {
    let user = &login.user;
    match refused {
        None => page(StatusCode::OK, "Signed in", &inside(user, login.new_password.is_some())),
        Some(refusal) if refusal.code == EXPIRED => page(StatusCode::OK, CHANGE, &changing(user, None)),
        Some(refusal) if refusal.code == UNFIT || login.new_password.is_some() => {
            page(StatusCode::UNAUTHORIZED, CHANGE, &changing(user, Some(&refusal)))
        }
        Some(refusal) => page(StatusCode::UNAUTHORIZED, "Sign in", &asking(user, Some(&refusal))),
    }
}

const CHANGE: &str = "Update your password";

fn asking(user: &str, refused: Option<&Refusal>) -> String {
    form(
        &note(refused),
        &format!(
            "<label>Who <input name=\"user\" required autocomplete=\"off\" value=\"{}\"></label>\
             <label>Password <input name=\"password\" type=\"password\" required autocomplete=\"off\"></label>",
            escape(user)
        ),
        "Sign in",
    )
}

fn changing(user: &str, refused: Option<&Refusal>) -> String {
    let why = format!(
        "{}<p>This password was set by somebody else. {} must choose one of their own before anything else.</p>",
        note(refused),
        escape(user)
    );
    form(
        &why,
        &format!(
            "<input type=\"hidden\" name=\"user\" value=\"{}\">\
             <label>Current password <input name=\"password\" type=\"password\" required autocomplete=\"off\"></label>\
             <label>New password <input name=\"new_password\" type=\"password\" required autocomplete=\"off\"></label>",
            escape(user)
        ),
        "Change it and sign in",
    )
}

fn inside(user: &str, changed: bool) -> String {
    let changed =
        if changed { " The password is now the one that was chosen; the temporary one is no good." } else { "" };
    format!("<p>{} is signed in.{changed}</p>", escape(user))
}

fn form(before: &str, fields: &str, button: &str) -> String {
    format!("{before}<form method=\"post\" action=\"{PATH}\">{fields}<button>{button}</button></form>")
}

fn note(refused: Option<&Refusal>) -> String {
    refused.map(|no| format!("<p class=\"note\" role=\"alert\">{}</p>", escape(&no.to_string()))).unwrap_or_default()
}

fn page(status: StatusCode, title: &str, body: &str) -> Response<Full<Bytes>> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"><title>{title}: simulated tenant</title><style>{STYLE}</style></head>\
         <body><main><h1>{title}</h1>{body}<p><small>A simulated Entra tenant on this machine. Nothing here is Microsoft's.\
         </small></p></main></body></html>"
    );
    let mut response = Response::new(Full::new(Bytes::from(html)));
    *response.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What was typed, as far as anybody reads it.
fn escape(text: &str) -> String {
    escaped(&text.chars().take(200).collect::<String>())
}
