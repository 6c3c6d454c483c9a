//! Formatting of nested errors.

/// An error and its sources on one line, separated by colons. A source whose text is already there is left out, as the
/// AWS SDK repeats them.
pub(crate) fn one_line(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = inner.source();
    }
    line
}
