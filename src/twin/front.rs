//! From HTTP to the tenant and back: one call at a time, alone or in a `$batch`.
//!
//! The order of things is the one a caller of Graph meets: planned faults, then who is calling, then what it may do,
//! then the limits, then the call itself. Every call is counted, whatever became of it.

use super::{
    Tenant,
    clock::{http_date, instant, pause},
    fault::Fault,
    ledger::Entry,
    reply::{Body, Call, Fail, Reply},
    risk::{Verdict, user_ids},
    security::Arm,
    verb::{Route, Verb},
};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::json;
use uuid::Uuid;

/// Largest body taken.
const MAX_BODY: usize = 4 << 20;

/// The connection is to be cut without an answer.
#[derive(Debug, thiserror::Error)]
#[error("the connection is cut on purpose")]
pub(super) struct Cut;

/// What became of one call.
#[derive(Debug)]
pub(super) enum Outcome {
    Answer(Reply, Uuid),
    Cut,
    Hang,
}

/// Why a call has no reply of its own.
#[derive(Debug)]
pub(super) enum Stop {
    Refused(Fail),
    Cut,
    Hang,
}

impl From<Fail> for Stop {
    fn from(fail: Fail) -> Self {
        Stop::Refused(fail)
    }
}

impl Tenant {
    /// Answers one HTTP request, or says that its connection must be cut.
    pub(super) async fn respond<B>(&self, request: Request<B>) -> Result<Response<Full<Bytes>>, Cut>
    where
        B: hyper::body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let Ok(raw) = Limited::new(body, MAX_BODY).collect().await.map(http_body_util::Collected::to_bytes) else {
            return Ok(self.encode(Reply::status(413, None), Uuid::nil(), None));
        };
        let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
        let bearer = header("authorization")
            .and_then(|value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")));
        let mut call = Call {
            method: head.method.as_str(),
            path: head.uri.path(),
            query: head.uri.query().unwrap_or_default(),
            bearer,
            client_request_id: header("client-request-id"),
            host: header("host").or(head.uri.authority().map(http::uri::Authority::as_str)).unwrap_or("localhost"),
            raw: &raw,
            body: Body::Empty,
            now: self.clock.now(),
            knobs: self.knobs(),
        };
        if call.path == "/twin" || call.path.starts_with("/twin/") {
            let reply = self.control(&call).await;
            return Ok(self.encode(reply, Uuid::nil(), None));
        }
        if call.path == super::door::PATH {
            return Ok(self.door(&call));
        }
        let form = header("content-type").is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        if !form {
            call.body = Body::parse(&raw);
        }
        let route = Route::of(call.method, call.path, &call.body);
        match self.one(&route, &call, false).await {
            Outcome::Answer(reply, id) => Ok(self.encode(reply, id, call.client_request_id)),
            Outcome::Cut => Err(Cut),
            Outcome::Hang => std::future::pending().await,
        }
    }

    /// One call through faults, identity, permission and limits, counted whatever becomes of it.
    pub(super) async fn one(&self, route: &Route, call: &Call<'_>, batched: bool) -> Outcome {
        let targets = self.targets(route, call);
        let id = self.clock.fresh_id();
        let entry = |status: u16, applied: bool| Entry {
            verb: route.verb,
            targets: &targets,
            method: call.method,
            path: call.path,
            key: call.client_request_id,
            status,
            applied,
            batched,
            at: instant(self.clock.now()),
        };
        let fault = self.faults.decide(call, &targets);
        match &fault {
            Some(Fault::Drop) => {
                self.ledger.record(&entry(0, false));
                return Outcome::Cut;
            }
            Some(Fault::Hang) => {
                self.ledger.record(&entry(0, false));
                return Outcome::Hang;
            }
            Some(Fault::Status { status, retry_after, code, message }) => {
                let fail = planned(*status, *retry_after, code.as_deref(), message.as_deref());
                self.ledger.record(&entry(*status, false));
                return Outcome::Answer(fail.render(route.surface, id, call), id);
            }
            Some(Fault::Delay { ms }) => pause(*ms).await,
            Some(Fault::LateReply { .. } | Fault::LostReply) | None => {}
        }
        let reply = match self.perform(route, call).await {
            Ok(reply) => reply,
            Err(Stop::Refused(fail)) => fail.render(route.surface, id, call),
            Err(Stop::Cut) => {
                self.ledger.record(&entry(0, false));
                return Outcome::Cut;
            }
            Err(Stop::Hang) => {
                self.ledger.record(&entry(0, false));
                return Outcome::Hang;
            }
        };
        match fault {
            Some(Fault::LostReply) => {
                self.ledger.record(&entry(0, reply.applied));
                return Outcome::Cut;
            }
            Some(Fault::LateReply { ms }) => {
                self.ledger.record(&entry(reply.status, reply.applied));
                pause(ms).await;
            }
            _ => self.ledger.record(&entry(reply.status, reply.applied)),
        }
        Outcome::Answer(reply, id)
    }

    /// The objects a call is about: the user in its path, or those in its body.
    fn targets(&self, route: &Route, call: &Call<'_>) -> Vec<Uuid> {
        match route.verb {
            Verb::ConfirmCompromised | Verb::ConfirmSafe | Verb::DismissRisk => user_ids(&call.body),
            _ if route.about_a_user() => self.resolve(&route.id).into_iter().collect(),
            _ => route.id.parse().into_iter().collect(),
        }
    }

    async fn perform(&self, route: &Route, call: &Call<'_>) -> Result<Reply, Stop> {
        match route.verb {
            Verb::Token => return Ok(self.token(&route.id, call)),
            Verb::ManagedIdentity => return Ok(self.managed_identity(call)),
            Verb::ReadMail => return Ok(self.read_mail(call)?),
            Verb::Unknown => {
                return Err(Fail::bad(format!("Resource not found for the segment '{}'.", call.path)).into());
            }
            _ => {}
        }
        let app = self.caller(call, route.surface)?;
        self.permit(route.verb, app)?;
        self.throttle.take(route.verb.class(), route.verb.changes(), &call.knobs)?;
        match route.verb {
            Verb::Batch => self.batch(call).await,
            Verb::CreateSubscription => Ok(self.create_subscription(call).await?),
            _ => Ok(self.dispatch(route, app, call)?),
        }
    }

    fn dispatch(&self, route: &Route, app: usize, call: &Call<'_>) -> Result<Reply, Fail> {
        let (id, item) = (route.id.as_str(), route.item.as_str());
        match route.verb {
            Verb::ListUsers => self.list_users(call),
            Verb::ReadUser => self.read_user(id, call),
            Verb::Revoke => self.revoke(id, call),
            Verb::ResetPassword | Verb::DisableAccount | Verb::EnableAccount | Verb::UpdateUser => {
                self.update_user(id, app, call)
            }
            Verb::ReadRoles => self.read_roles(id, item == "all", call),
            Verb::ReadRoleAssignments => self.read_assignments(false, call),
            Verb::ReadRoleEligibility => self.read_assignments(true, call),
            Verb::ReadGroup => self.read_group(id),
            Verb::ReadGroupMembers => self.read_members(id, item == "transitive", call),
            Verb::ReadOrganization => Ok(self.read_organization()),
            Verb::ReadDomains => self.read_domains(id),
            Verb::ReadAppRoles => Ok(self.read_app_roles(id, app)),
            Verb::ReadInboxRules => self.read_rules(id, item, call),
            Verb::UpdateInboxRule => self.update_rule(id, item, call),
            Verb::DeleteInboxRule => self.delete_rule(id, item),
            Verb::ReadAuthMethods => self.read_methods(id, call),
            Verb::DeleteAuthMethod => self.delete_method(id, item, &route.third),
            Verb::CreateAccessPass => self.create_access_pass(id, call),
            Verb::ReadGrants => self.read_grants(id, call),
            Verb::DeleteGrant => self.delete_grant(id),
            Verb::ReadDevices => self.read_devices(id, call),
            Verb::UpdateDevice => self.update_device(id, call),
            Verb::ConfirmCompromised => self.judge(Verdict::Compromised, call),
            Verb::ConfirmSafe => self.judge(Verdict::Safe, call),
            Verb::DismissRisk => self.judge(Verdict::Dismissed, call),
            Verb::ListRiskyUsers => self.list_risky(call),
            Verb::ReadRiskyUser => self.read_risky(id),
            Verb::ListRiskDetections => self.list_detections(call),
            Verb::ReadRiskDetection => self.read_detection(id),
            Verb::ListSignIns => self.list_sign_ins(call),
            Verb::ListAlerts => self.list_alerts(call),
            Verb::ReadAlert => self.read_alert(id, call),
            Verb::UpdateAlert => self.update_alert(id, call),
            Verb::CommentAlert => self.comment(id, false, call),
            Verb::ListLegacyAlerts => self.list_legacy(call),
            Verb::ReadLegacyAlert => self.read_legacy(id, call),
            Verb::ListIncidents => self.list_incidents(call),
            Verb::ReadIncident => self.read_incident(id, call),
            Verb::UpdateIncident => self.update_incident(id, call),
            Verb::CommentIncident => self.comment(id, true, call),
            Verb::ArmIncident => self.arm(Arm::Incident, id, call),
            Verb::ArmEntities => self.arm(Arm::Entities, id, call),
            Verb::ArmComment => self.arm(Arm::Comment(item), id, call),
            Verb::ListSubscriptions => Ok(self.list_subscriptions(call)),
            Verb::ReadSubscription => self.read_subscription(id, call),
            Verb::RenewSubscription => self.renew_subscription(id, call),
            Verb::ReauthorizeSubscription => self.reauthorize_subscription(id, call),
            Verb::DeleteSubscription => self.delete_subscription(id),
            Verb::Token
            | Verb::ManagedIdentity
            | Verb::Batch
            | Verb::Unknown
            | Verb::ReadMail
            | Verb::CreateSubscription => Err(Fail::bad("Not understood here.")),
        }
    }

    /// What a person's access token reads: the mail a thief is after.
    pub(super) fn read_mail(&self, call: &Call<'_>) -> Result<Reply, Fail> {
        let token =
            call.bearer.ok_or_else(|| Fail::new(401, "InvalidAuthenticationToken", "Access token is empty."))?;
        let owner = self.mailbox(token)?;
        Ok(Reply::ok(json!({"value": [{"id": "AAMkAD0=", "subject": "Wire instructions, confidential",
            "receivedDateTime": super::clock::iso(call.now), "owner": owner}]})))
    }

    pub(super) fn encode(&self, reply: Reply, request_id: Uuid, client_id: Option<&str>) -> Response<Full<Bytes>> {
        let body = reply.body.as_ref().map(|body| Bytes::from(serde_json::to_vec(body).unwrap_or_default()));
        let mut response = Response::new(Full::new(body.clone().unwrap_or_default()));
        *response.status_mut() = http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::BAD_GATEWAY);
        let headers = response.headers_mut();
        if body.is_some() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json; charset=utf-8"));
        }
        put(headers, "date", &http_date(self.clock.now()));
        put(headers, "request-id", &request_id.to_string());
        if let Some(client_id) = client_id {
            put(headers, "client-request-id", client_id);
        }
        if let Some(seconds) = reply.retry_after {
            put(headers, "retry-after", &seconds.to_string());
        }
        response
    }
}

fn put(headers: &mut HeaderMap, name: &'static str, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

fn planned(status: u16, retry_after: Option<u64>, code: Option<&str>, message: Option<&str>) -> Fail {
    let usual = match status {
        400 => "Request_BadRequest",
        401 => "InvalidAuthenticationToken",
        403 => "Authorization_RequestDenied",
        404 => "Request_ResourceNotFound",
        429 => "TooManyRequests",
        503 => "serviceNotAvailable",
        _ => "generalException",
    };
    let code = code.unwrap_or(usual).to_owned();
    let message = message.unwrap_or("A planned fault of the twin.").to_owned();
    Fail { retry_after, ..Fail::new(status, code, message) }
}
