//! Signals by number and by name. This is the only list of them.
//!
//! Owns the name of each signal of Linux, and the words by which others call it. Deliberately sends none.

/// Number, name, and the words of Go's runtime, in which E2B's agent says how a process ended.
const SIGNALS: [(u32, &str, &str); 31] = [
    (1, "SIGHUP", "hangup"),
    (2, "SIGINT", "interrupt"),
    (3, "SIGQUIT", "quit"),
    (4, "SIGILL", "illegal instruction"),
    (5, "SIGTRAP", "trace/breakpoint trap"),
    (6, "SIGABRT", "aborted"),
    (7, "SIGBUS", "bus error"),
    (8, "SIGFPE", "floating point exception"),
    (9, "SIGKILL", "killed"),
    (10, "SIGUSR1", "user defined signal 1"),
    (11, "SIGSEGV", "segmentation fault"),
    (12, "SIGUSR2", "user defined signal 2"),
    (13, "SIGPIPE", "broken pipe"),
    (14, "SIGALRM", "alarm clock"),
    (15, "SIGTERM", "terminated"),
    (16, "SIGSTKFLT", "stack fault"),
    (17, "SIGCHLD", "child exited"),
    (18, "SIGCONT", "continued"),
    (19, "SIGSTOP", "stopped (signal)"),
    (20, "SIGTSTP", "stopped"),
    (21, "SIGTTIN", "stopped (tty input)"),
    (22, "SIGTTOU", "stopped (tty output)"),
    (23, "SIGURG", "urgent I/O condition"),
    (24, "SIGXCPU", "CPU time limit exceeded"),
    (25, "SIGXFSZ", "file size limit exceeded"),
    (26, "SIGVTALRM", "virtual timer expired"),
    (27, "SIGPROF", "profiling timer expired"),
    (28, "SIGWINCH", "window changed"),
    (29, "SIGIO", "I/O possible"),
    (30, "SIGPWR", "power failure"),
    (31, "SIGSYS", "bad system call"),
];

/// The first and the last real-time signal, as the C library and shells count them. The C library keeps 32 and 33 for
/// itself.
const REAL_TIME: (u32, u32) = (34, 64);

/// The name of a signal: `SIGTERM`, `SIGRTMIN+3`, or `signal 99` for a number without a name.
pub fn name(number: u32) -> String {
    let (first, last) = REAL_TIME;
    if number == first {
        return "SIGRTMIN".to_owned();
    }
    if (first..=last).contains(&number) {
        return format!("SIGRTMIN+{}", number - first);
    }
    let known = SIGNALS.iter().find(|(known, ..)| *known == number);
    known.map_or_else(|| format!("signal {number}"), |(_, name, _)| (*name).to_owned())
}

/// The number of a signal by the name that [`name`] gives it. From 1 to 64.
pub fn number(name: &str) -> Option<u32> {
    let (first, last) = REAL_TIME;
    let known = SIGNALS.iter().find(|(_, known, _)| *known == name).map(|(number, ..)| *number);
    let real_time = || match name.strip_prefix("SIGRTMIN")? {
        "" => Some(first),
        offset => first.checked_add(offset.strip_prefix('+')?.parse().ok()?),
    };
    let plain = || name.strip_prefix("signal ")?.parse().ok();
    known.or_else(real_time).or_else(plain).filter(|number| (1..=last).contains(number))
}

/// The name of a signal from a provider's words: a name with or without `SIG`, `signal 35`, or the words of Go's runtime.
/// Other words are returned as they are.
pub fn of_words(words: &str) -> String {
    let words = words.trim();
    let words = words.strip_suffix("(core dumped)").map_or(words, str::trim_end);
    let said = SIGNALS.iter().find(|(_, _, said)| *said == words).map(|(number, ..)| *number);
    let number = said.or_else(|| number(words)).or_else(|| number(&format!("SIG{words}")));
    number.map_or_else(|| words.to_owned(), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_signal_has_one_name_that_leads_back_to_it() {
        let names: std::collections::BTreeSet<_> = (1..=64).map(name).collect();
        assert_eq!(names.len(), 64);
        for signal in 1..=64 {
            assert_eq!(number(&name(signal)), Some(signal));
        }
        assert_eq!((name(10), name(34), name(64)), ("SIGUSR1".into(), "SIGRTMIN".into(), "SIGRTMIN+30".into()));
        for no_signal in ["", "SIG", "SIGRTMIN+31", "SIGRTMIN-1", "signal 0", "signal 65", "SIGRTMIN+4294967295"] {
            assert_eq!(number(no_signal), None, "{no_signal}");
        }
    }

    #[test]
    fn the_words_of_a_provider_become_a_name() {
        for (words, name) in [
            ("user defined signal 1", "SIGUSR1"),
            ("user defined signal 2", "SIGUSR2"),
            ("broken pipe", "SIGPIPE"),
            ("CPU time limit exceeded", "SIGXCPU"),
            ("bad system call (core dumped)", "SIGSYS"),
            ("stack fault", "SIGSTKFLT"),
            ("I/O possible", "SIGIO"),
            ("signal 35", "SIGRTMIN+1"),
            ("SIGTERM", "SIGTERM"),
            ("KILL", "SIGKILL"),
            ("RTMIN+3", "SIGRTMIN+3"),
            ("something else", "something else"),
        ] {
            assert_eq!(of_words(words), name);
        }
    }
}
