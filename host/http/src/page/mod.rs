//! The page, and refusals as a page.
//!
//! | file | what it is |
//! |---|---|
//! | `embedded` | the page's files |
//! | `notice` | words for a person who opens an address and gets no page |

pub(crate) mod embedded;
pub(crate) mod notice;
