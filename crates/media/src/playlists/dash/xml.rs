//! Writes indented XML; every value is escaped.

use std::fmt::Write as _;

/// A document under construction.
pub(super) struct Xml {
    text: String,
    depth: usize,
}

impl Xml {
    pub(super) fn new() -> Self {
        Self { text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".into(), depth: 0 }
    }

    /// A start tag; what follows is inside the element.
    pub(super) fn open(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, ">\n");
        self.depth += 1;
    }

    /// An end tag.
    pub(super) fn close(&mut self, name: &str) {
        self.depth = self.depth.saturating_sub(1);
        let indent = self.depth * 2;
        // Writing to a string cannot fail.
        let _infallible = writeln!(self.text, "{:indent$}</{name}>", "");
    }

    /// An empty element.
    pub(super) fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, "/>\n");
    }

    /// An element that contains text.
    pub(super) fn leaf(&mut self, name: &str, content: &str) {
        self.tag(name, &[], ">");
        let _infallible = writeln!(self.text, "{}</{name}>", escaped(content));
    }

    /// The whole document.
    pub(super) fn finish(self) -> String {
        self.text
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, &str)], end: &str) {
        let indent = self.depth * 2;
        let _infallible = write!(self.text, "{:indent$}<{name}", "");
        for (name, value) in attributes {
            let _infallible = write!(self.text, " {name}=\"{}\"", escaped(value));
        }
        self.text.push_str(end);
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::Xml;

    #[test]
    fn finish_values_are_escaped() {
        let mut xml = Xml::new();
        xml.open("a", &[("b", "\"<&>'")]);
        xml.leaf("c", "]]>&amp;");
        xml.close("a");
        let body = "<a b=\"&quot;&lt;&amp;&gt;'\">\n  <c>]]&gt;&amp;amp;</c>\n</a>\n";
        assert_eq!(xml.finish(), format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n{body}"));
    }
}
