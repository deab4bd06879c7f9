//! The same promises on every provider of sandboxes: `suite` has them, and there is one thin file for each provider.
//!
//! A new provider needs a type that is a [`suite::Bed`], and `on_every_provider!` with a function that makes one.

mod docker;
mod kubernetes;
mod local;
mod moves;
mod suite;

/// All tests of the suite, on the provider that `$bed` starts: an async function that returns an `Option` of a
/// [`suite::Bed`], which is none where this machine cannot have it.
macro_rules! on_every_provider {
    ($bed:path) => {
        $crate::providers::on_every_provider! { $bed:
            a_shell_computes_and_its_exit_ends_the_sandbox,
            the_size_is_seen_by_the_program,
            a_signal_that_ends_the_shell_is_told,
            a_client_resumes_at_its_offset,
            a_broker_that_is_killed_costs_no_byte,
            a_sandbox_carries_its_labels_and_foreign_ones_are_left_alone,
            what_a_killed_broker_leaves_is_ended_by_the_next,
            an_orphan_without_a_journal_is_found_by_its_labels,
            a_large_file_arrives_and_comes_back_whole,
        }
    };
    ($bed:path: $($test:ident,)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                let Some(bed) = $bed().await else { return };
                $crate::providers::suite::$test(&bed).await;
            }
        )+
    };
}
use on_every_provider;
