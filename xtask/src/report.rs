//! Runs named steps, hides none behind another's failure, and ends with a table.
//!
//! Knows nothing of what a step does.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

/// The outcome of steps so far.
pub(crate) struct Report {
    only: Vec<String>,
    rows: Vec<Row>,
}

struct Row {
    name: &'static str,
    time: Duration,
    outcome: Outcome,
}

enum Outcome {
    Passed,
    Failed(anyhow::Error),
    /// Names the steps that it needs and that failed.
    NotRun(Vec<&'static str>),
}

impl Report {
    /// A report over all steps, or `only` over those named.
    pub(crate) fn new(only: Vec<String>) -> Self {
        Self { only, rows: Vec::new() }
    }

    /// Runs a step, unless one that it needs failed or did not run.
    pub(crate) fn step(&mut self, name: &'static str, needs: &[&'static str], work: impl FnOnce() -> Result<()>) {
        if !self.selects(name) {
            return;
        }
        let broken: Vec<&'static str> = self
            .rows
            .iter()
            .filter(|row| needs.contains(&row.name) && !matches!(row.outcome, Outcome::Passed))
            .map(|row| row.name)
            .collect();
        let begun = Instant::now();
        let outcome = if broken.is_empty() {
            eprintln!("\n== {name}");
            work().map_or_else(Outcome::Failed, |()| Outcome::Passed)
        } else {
            Outcome::NotRun(broken)
        };
        if let Outcome::Failed(error) = &outcome {
            eprintln!("{name} failed: {error:#}");
        }
        self.rows.push(Row { name, time: begun.elapsed(), outcome });
    }

    /// Whether a step of this name is to run.
    pub(crate) fn selects(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }

    /// Prints every failure again and the table; an error unless all passed.
    pub(crate) fn finish(self) -> Result<()> {
        eprint!("\n{}", self.text());
        let passed = self.count(|outcome| matches!(outcome, Outcome::Passed));
        if passed == self.rows.len() {
            return Ok(());
        }
        bail!("{} of {} steps did not pass", self.rows.len() - passed, self.rows.len())
    }

    fn text(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            if let Outcome::Failed(error) = &row.outcome {
                text.push_str(&format!("{} failed: {error:#}\n", row.name));
            }
        }
        text.push_str(&format!("{:<10} {:<8} {:>8}\n", "step", "result", "seconds"));
        for row in &self.rows {
            let (result, reason) = match &row.outcome {
                Outcome::Passed => ("passed", String::new()),
                Outcome::Failed(_) => ("FAILED", String::new()),
                Outcome::NotRun(broken) => ("not run", format!("  needs {}", broken.join(", "))),
            };
            let seconds = row.time.as_secs_f64();
            text.push_str(&format!("{:<10} {result:<8} {seconds:>8.1}{reason}\n", row.name));
        }
        text.push_str(&format!(
            "steps: {} passed, {} failed, {} not run\n",
            self.count(|outcome| matches!(outcome, Outcome::Passed)),
            self.count(|outcome| matches!(outcome, Outcome::Failed(_))),
            self.count(|outcome| matches!(outcome, Outcome::NotRun(_))),
        ));
        text
    }

    fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|row| is(&row.outcome)).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_hides_only_what_needs_it() {
        let mut report = Report::new(Vec::new());
        report.step("web", &[], || bail!("no node"));
        report.step("browser", &["web"], || panic!("must not run"));
        report.step("after", &["browser"], || panic!("must not run"));
        report.step("docs", &[], || Ok(()));
        let text = report.text();
        assert!(text.starts_with("web failed: no node\n"), "{text}");
        assert!(text.contains("needs web\n"), "{text}");
        assert!(text.contains("needs browser\n"), "{text}");
        assert!(text.ends_with("steps: 1 passed, 1 failed, 2 not run\n"), "{text}");
        assert!(report.finish().is_err());
    }

    #[test]
    fn a_chosen_step_runs_without_those_that_it_needs() {
        let mut ran = false;
        let mut report = Report::new(vec!["browser".to_owned()]);
        report.step("web", &[], || panic!("was not chosen"));
        report.step("browser", &["web"], || {
            ran = true;
            Ok(())
        });
        report.finish().unwrap();
        assert!(ran);
    }
}
