//! Checks the head of a guest's response before it is sent to a client (RFC 9110). This is pure
//! logic.

use http::{HeaderMap, Method, Response, StatusCode, header};

use super::limit::{HeadTooLarge, check_head};

/// The framing of a response's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body, whatever the head says about its length.
    NoBody,
    /// The body has the length that `content-length` says.
    Length(u64),
    /// The length is not known in advance.
    Open,
}

/// The reason why a response cannot be sent to a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("its status is {0}, which only announces another response, and none followed")]
    Informational(StatusCode),
    #[error("its content-length is not a single number")]
    Length,
    #[error("its content-length is {0}, and it has no body")]
    NoBody(u64),
    #[error("{0}")]
    Head(HeadTooLarge),
}

/// Checks the head of a final response to a request with this method, and removes the fields that
/// its status excludes.
pub(crate) fn check<B>(method: &Method, response: &mut Response<B>) -> Result<Framing, Malformed> {
    let status = response.status();
    if status.is_informational() {
        return Err(Malformed::Informational(status));
    }
    check_head(response.headers()).map_err(Malformed::Head)?;
    let length = content_length(response.headers_mut())?;
    match status {
        // RFC 9110, section 8.6: there is no content, and no field that describes it.
        StatusCode::NO_CONTENT => {
            response.headers_mut().remove(header::CONTENT_LENGTH);
            Ok(Framing::NoBody)
        }
        StatusCode::NOT_MODIFIED => Ok(Framing::NoBody),
        _ if *method == Method::HEAD => Ok(Framing::NoBody),
        _ => Ok(length.map_or(Framing::Open, Framing::Length)),
    }
}

/// Returns the length on which all fields of that name agree, and keeps one of them (RFC 9110,
/// section 8.6).
fn content_length(headers: &mut HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut fields = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = fields.next() else {
        return Ok(None);
    };
    let length = decimal(first.as_bytes()).ok_or(Malformed::Length)?;
    let mut several = false;
    for other in fields {
        several = true;
        if decimal(other.as_bytes()) != Some(length) {
            return Err(Malformed::Length);
        }
    }
    if several {
        headers.insert(header::CONTENT_LENGTH, length.into());
    }
    Ok(Some(length))
}

/// Parses digits only: `u64::from_str` would also accept a sign.
fn decimal(bytes: &[u8]) -> Option<u64> {
    let digits = std::str::from_utf8(bytes).ok()?;
    let is_number = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    is_number.then(|| digits.parse().ok())?
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use http::{HeaderName, HeaderValue};

    use super::*;
    use crate::http::limit::MAX_FIELDS;

    fn response(status: u16, fields: &[(&str, &str)]) -> Response<()> {
        let mut response = Response::builder().status(status);
        for (name, value) in fields {
            response = response.header(*name, *value);
        }
        response.body(()).unwrap()
    }

    fn framing(
        method: &Method,
        status: u16,
        fields: &[(&str, &str)],
    ) -> Result<Framing, Malformed> {
        check(method, &mut response(status, fields))
    }

    #[test]
    fn a_body_is_framed_by_method_status_and_length() {
        let (get, head) = (Method::GET, Method::HEAD);
        let five = [("content-length", "5")];
        assert_eq!(framing(&get, 200, &five), Ok(Framing::Length(5)));
        assert_eq!(framing(&get, 200, &[]), Ok(Framing::Open));
        assert_eq!(framing(&head, 200, &five), Ok(Framing::NoBody));
        for status in [204, 304] {
            assert_eq!(framing(&get, status, &five), Ok(Framing::NoBody));
        }
        assert_eq!(framing(&get, 999, &[]), Ok(Framing::Open));
    }

    #[test]
    fn only_204_loses_its_length() {
        let length = |method: &Method, status| {
            let mut response = response(status, &[("content-length", "5")]);
            check(method, &mut response).unwrap();
            response.headers().contains_key("content-length")
        };
        assert!(!length(&Method::GET, 204));
        assert!(length(&Method::GET, 304) && length(&Method::HEAD, 200));
    }

    #[test]
    fn an_informational_status_is_no_answer() {
        for status in [100, 101, 103, 199] {
            let code = StatusCode::from_u16(status).unwrap();
            let refused = Err(Malformed::Informational(code));
            assert_eq!(framing(&Method::GET, status, &[]), refused);
        }
    }

    #[test]
    fn lengths_that_differ_or_are_not_numbers_are_refused() {
        for lengths in [["5", "6"], ["5", "x"], ["+5", "5"], ["", ""], ["5, 5", "5"]] {
            let fields = lengths.map(|length| ("content-length", length));
            let refused = framing(&Method::GET, 200, &fields);
            assert_eq!(refused, Err(Malformed::Length), "{lengths:?}");
        }
        let mut twice = response(200, &[("content-length", "5"), ("content-length", "05")]);
        assert_eq!(check(&Method::GET, &mut twice), Ok(Framing::Length(5)));
        let fields = twice.headers().get_all("content-length");
        assert_eq!(fields.iter().collect::<Vec<_>>(), ["5"]);
    }

    #[test]
    fn a_head_passes_up_to_its_limits_and_not_beyond() {
        let mut many = response(200, &[]);
        for number in 0..MAX_FIELDS {
            let name = HeaderName::try_from(format!("x-{number}")).unwrap();
            many.headers_mut()
                .append(name, HeaderValue::from_static("v"));
        }
        assert_eq!(check(&Method::GET, &mut many), Ok(Framing::Open));
        many.headers_mut()
            .append("x-0", HeaderValue::from_static("v"));
        let refused = check(&Method::GET, &mut many).unwrap_err().to_string();
        assert!(refused.contains("200 fields"), "{refused}");
    }
}
