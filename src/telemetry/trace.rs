//! W3C trace context: one trace per signal, from the receipt over the queue to the last Graph call.
//!
//! A `traceparent` is stored beside the signal and given to the span that goes on with it. Only version 00 is
//! written; what does not parse is ignored, for a trace is never worth a delivery.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The context of the current span as a `traceparent`; `None` outside any span.
pub fn current_traceparent() -> Option<String> {
    let context = Span::current().context();
    let span = context.span();
    let of = span.span_context();
    of.is_valid().then(|| {
        let flags = of.trace_flags() & TraceFlags::SAMPLED;
        format!("00-{}-{}-{flags:02x}", of.trace_id(), of.span_id())
    })
}

/// Makes the span a child of what `traceparent` names. To be called before the span is entered. False when the text
/// is no traceparent or the span is not recorded; the span then stays what it was.
pub fn set_parent(span: &Span, traceparent: &str) -> bool {
    let Some(parent) = parse(traceparent) else { return false };
    span.set_parent(Context::new().with_remote_span_context(parent)).is_ok()
}

/// `version-traceid-parentid-flags`, lower-case hex; versions after 00 may have more parts.
fn parse(text: &str) -> Option<SpanContext> {
    if text.len() > 256 || !text.is_ascii() {
        return None;
    }
    let mut parts = text.split('-');
    let mut hex = |length: usize| {
        let is_hex = |part: &&str| part.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        parts.next().filter(|part| part.len() == length).filter(is_hex)
    };
    let (version, trace, span, flags) = (hex(2)?, hex(32)?, hex(16)?, hex(2)?);
    if version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED;
    let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
    Some(SpanContext::new(trace, span, flags, true, TraceState::default())).filter(SpanContext::is_valid)
}

#[cfg(test)]
mod tests {
    use tracing::info_span;

    use super::super::subscriber::{Config, Log, build};
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    /// Runs with a subscriber that logs and exports nothing, as without an OTLP endpoint.
    fn traced<T>(work: impl FnOnce() -> T) -> T {
        let (subscriber, _guard) = build(&Config { log: Log::Off, ..Config::default() }).expect("a subscriber");
        tracing::subscriber::with_default(subscriber, work)
    }

    #[test]
    fn a_trace_goes_on_in_another_span_although_nothing_is_exported() {
        traced(|| {
            let receipt = info_span!("delivery").in_scope(current_traceparent).expect("a traceparent");
            let work = info_span!("run");
            assert!(set_parent(&work, &receipt));
            let later = work.in_scope(|| info_span!("step").in_scope(current_traceparent)).expect("a traceparent");
            assert_eq!(receipt[..36], later[..36], "same trace");
            assert_ne!(receipt[36..52], later[36..52], "another span");
            assert!(receipt.ends_with("-01"), "{receipt}");
        });
    }

    #[test]
    fn a_given_traceparent_names_the_trace() {
        traced(|| {
            let span = info_span!("delivery");
            assert!(set_parent(&span, GIVEN));
            let inside = span.in_scope(current_traceparent).expect("a traceparent");
            assert_eq!(inside[..36], GIVEN[..36]);
        });
    }

    #[test]
    fn rubbish_is_ignored_and_the_span_gets_a_trace_of_its_own() {
        let long = format!("{GIVEN}-{}", "a".repeat(100_000));
        let rubbish = [
            "",
            "00",
            "-",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "+0-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            long.as_str(),
        ];
        traced(|| {
            for text in rubbish {
                let span = info_span!("delivery");
                assert!(!set_parent(&span, text), "{text:.80}");
                let own = span.in_scope(current_traceparent).expect("a traceparent");
                assert_ne!(own[..36], GIVEN[..36]);
            }
        });
    }

    #[test]
    fn a_later_version_with_more_parts_is_understood() {
        let text = "cc-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-what-the-future-brings";
        assert!(parse(text).is_some());
    }

    #[test]
    fn outside_any_span_there_is_no_traceparent() {
        assert_eq!(traced(current_traceparent), None);
        assert_eq!(current_traceparent(), None);
    }
}
