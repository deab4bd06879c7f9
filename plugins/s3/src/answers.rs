//! Reads answers: headers, and elements of the XML that these services speak.
//! Knows no meaning.

use jiff::Timestamp;
use jiff::fmt::rfc2822;
use roxmltree::Document;
use sandbox_broker_sdk::mounter::Response;

/// A header of an answer by its name in lower case.
pub fn header<'a>(response: &'a Response, name: &str) -> Option<&'a str> {
    response.headers.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
}

/// The text of the first element of this name, whatever its namespace is.
pub fn element(response: &Response, name: &str) -> Option<String> {
    let text = String::from_utf8_lossy(&response.body);
    let document = Document::parse(text.trim_start_matches('\u{feff}')).ok()?;
    let found = document.descendants().find(|node| node.tag_name().name() == name)?;
    found.text().map(|text| text.trim().to_owned())
}

/// The name of the document's outermost element.
pub fn root(response: &Response) -> Option<String> {
    let text = String::from_utf8_lossy(&response.body);
    let document = Document::parse(text.trim_start_matches('\u{feff}')).ok()?;
    Some(document.root_element().tag_name().name().to_owned())
}

/// How far the broker's clock is ahead of the service's, in seconds.
pub fn ahead(response: &Response, now: Timestamp) -> Option<i64> {
    let date = rfc2822::DateTimeParser::new().parse_timestamp(header(response, "date")?).ok()?;
    Some(now.as_second() - date.as_second())
}
