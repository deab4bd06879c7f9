//! The access list of a container: its stored access policies, as the service
//! writes them. Owns reading and writing them so that what is not ours keeps
//! its meaning; knows no request.

use roxmltree::{Document, Node};

/// Policies of a container, at most. The service's rule.
pub const MAX_POLICIES: usize = 5;

/// One policy. Texts are kept as the service wrote them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Its name; tokens give it as `si`.
    pub id: String,
    /// Before this time it allows nothing.
    pub start: Option<String>,
    /// After this time it allows nothing.
    pub expiry: Option<String>,
    /// What it allows.
    pub permission: Option<String>,
}

impl Policy {
    /// A policy without times: tokens bring their own end.
    pub fn allowing(id: &str, permission: &str) -> Self {
        Self { id: id.to_owned(), start: None, expiry: None, permission: Some(permission.to_owned()) }
    }
}

/// Reads a list. None when there is more in it than is known here, which would
/// be lost by writing it back.
pub fn read(body: &[u8]) -> Option<Vec<Policy>> {
    let text = std::str::from_utf8(body).ok()?.trim_start_matches('\u{feff}');
    if text.trim().is_empty() {
        return Some(Vec::new());
    }
    let document = Document::parse(text).ok()?;
    let root = document.root_element();
    if root.tag_name().name() != "SignedIdentifiers" {
        return None;
    }
    root.children().filter(Node::is_element).map(policy).collect()
}

fn policy(node: Node<'_, '_>) -> Option<Policy> {
    if node.tag_name().name() != "SignedIdentifier" {
        return None;
    }
    let mut policy = Policy { id: String::new(), start: None, expiry: None, permission: None };
    for part in node.children().filter(Node::is_element) {
        match part.tag_name().name() {
            "Id" => policy.id = part.text().unwrap_or_default().to_owned(),
            "AccessPolicy" => {
                for part in part.children().filter(Node::is_element) {
                    let place = match part.tag_name().name() {
                        "Start" => &mut policy.start,
                        "Expiry" => &mut policy.expiry,
                        "Permission" => &mut policy.permission,
                        _ => return None,
                    };
                    *place = part.text().filter(|text| !text.is_empty()).map(str::to_owned);
                }
            }
            _ => return None,
        }
    }
    (!policy.id.is_empty()).then_some(policy)
}

/// Writes a list.
pub fn write(policies: &[Policy]) -> Vec<u8> {
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers>");
    for policy in policies {
        out.push_str("<SignedIdentifier>");
        element(&mut out, "Id", Some(&policy.id));
        out.push_str("<AccessPolicy>");
        element(&mut out, "Start", policy.start.as_deref());
        element(&mut out, "Expiry", policy.expiry.as_deref());
        element(&mut out, "Permission", policy.permission.as_deref());
        out.push_str("</AccessPolicy></SignedIdentifier>");
    }
    out.push_str("</SignedIdentifiers>");
    out.into_bytes()
}

fn element(out: &mut String, name: &str, text: Option<&str>) {
    let Some(text) = text else { return };
    out.push_str(&format!("<{name}>"));
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\r' => out.push_str("&#13;"),
            c => out.push(c),
        }
    }
    out.push_str(&format!("</{name}>"));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As the service writes it, with a byte order mark.
    const LIST: &str = "\u{feff}<?xml version=\"1.0\" encoding=\"utf-8\"?><SignedIdentifiers>\
        <SignedIdentifier><Id>MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=</Id><AccessPolicy>\
        <Start>2026-09-28T08:49:37.0000000Z</Start><Expiry>2026-12-29T08:49:37.1234567Z</Expiry>\
        <Permission>rwd</Permission></AccessPolicy></SignedIdentifier>\
        <SignedIdentifier><Id>only &lt;id&gt; &amp; no more</Id><AccessPolicy/></SignedIdentifier>\
        <SignedIdentifier><Id>bare</Id></SignedIdentifier></SignedIdentifiers>";

    #[test]
    fn a_list_keeps_every_policy_to_the_letter() {
        let policies = read(LIST.as_bytes()).expect("a list");
        assert_eq!(policies[0].expiry.as_deref(), Some("2026-12-29T08:49:37.1234567Z"));
        assert_eq!(policies[0].permission.as_deref(), Some("rwd"));
        assert_eq!(policies[1].id, "only <id> & no more");
        assert_eq!((&*policies[2].id, &policies[2].permission), ("bare", &None));
        assert_eq!(read(&write(&policies)), Some(policies));
    }

    #[test]
    fn an_empty_list_is_one() {
        for empty in ["", "\u{feff}", "<SignedIdentifiers/>", "<?xml version=\"1.0\"?><SignedIdentifiers />"] {
            assert_eq!(read(empty.as_bytes()), Some(Vec::new()), "{empty}");
        }
    }

    #[test]
    fn a_list_with_something_unknown_is_left_alone() {
        for odd in [
            "<html/>",
            "no xml",
            "<SignedIdentifiers><Other/></SignedIdentifiers>",
            "<SignedIdentifiers><SignedIdentifier><Id>a</Id><New/></SignedIdentifier></SignedIdentifiers>",
            "<SignedIdentifiers><SignedIdentifier><Id>a</Id><AccessPolicy><Ip>1</Ip></AccessPolicy>\
             </SignedIdentifier></SignedIdentifiers>",
            "<SignedIdentifiers><SignedIdentifier><Id/></SignedIdentifier></SignedIdentifiers>",
            "<!DOCTYPE x [<!ENTITY a \"b\">]><SignedIdentifiers/>",
        ] {
            assert_eq!(read(odd.as_bytes()), None, "{odd}");
        }
        assert_eq!(read(b"\xff"), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            policies in prop::collection::vec(
                ("[ -~éß€]{1,64}", prop::option::of("[ -~]{1,30}"), prop::option::of("[a-z<&>\\]]{1,12}")),
                0..MAX_POLICIES,
            ),
        ) {
            let policies: Vec<Policy> = policies
                .into_iter()
                .map(|(id, expiry, permission)| Policy { id, start: expiry.clone(), expiry, permission })
                .collect();
            prop_assert_eq!(read(&write(&policies)), Some(policies));
        }
    }
}
