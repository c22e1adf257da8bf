//! The page that is printed: one, as plain text or as HTML that needs nothing else.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use super::{Kit, qr};

/// Bytes with which a page begins: growing would leave copies behind.
const PAGE_BYTES: usize = 512 << 10;

/// The command line's name of the file that holds a kit on a fresh machine.
const FILE: &str = "kit.txt";

const TITLE: &str = "Dolmen recovery kit";

const WARNING: &str = "Whoever holds this page can do everything: read every backup, end it, and make keys. It needs no \
                       passphrase, and no change of the passphrase makes it useless. Keep it away from the machines, as \
                       you keep a passport: no photo, no mail, no cloud.";

/// A piece of the instructions.
enum Piece {
    /// A step, in words.
    Step(&'static str),
    /// Something to type, below the step before it.
    Command(String),
}

/// What to do on a fresh machine, in order.
fn instructions(kit: &Kit) -> Vec<Piece> {
    let (address, id) = (quote_for_shell(&kit.address), kit.repository);
    let opening = format!("-r {address} --recovery-kit {FILE}");
    let reach = if kit.address.starts_with("s3:") {
        "Set the store's credentials, which this page does not hold: AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; if they \
         are lost, the provider makes new ones. Where they were used, AWS_REGION, AWS_ENDPOINT_URL, --cacert and -o, too."
    } else {
        "Make the repository's folder reachable: mount its disk, as it was. If it lies elsewhere now, name that place with -r."
    };
    let restore = format!(
        "dolmen restore latest --target ./restored \\\n  {opening} \\\n  --repository-id {id}"
    );
    vec![
        Piece::Step(
            "Install dolmen on a machine that you trust. If somebody attacked you, change nothing in the store.",
        ),
        Piece::Step(reach),
        Piece::Step(
            "Type the block above into a file. The 24 words are enough; case, numbers and spaces do not matter.",
        ),
        Piece::Command(format!("(umask 077; nano {FILE})")),
        Piece::Step("See that it opens the repository, and what is in there."),
        Piece::Command(format!("dolmen key verify-kit {FILE} -r {address}")),
        Piece::Command(format!("dolmen snapshots {opening}")),
        Piece::Step("Restore. Exit code 0: everything came back; 20: what did not is named."),
        Piece::Command(restore),
        Piece::Step("Choose a new passphrase if the old one is lost, then delete the file."),
        Piece::Command(format!("dolmen key passwd {opening}")),
        Piece::Command(format!("rm {FILE}")),
    ]
}

const WITHOUT: &str = "Without the program: docs/format.md describes every byte, contrib/read_dolmen.py reads a repository. \
                       The words are the admin secret by BIP-39, English.";

const CODE: &str = "The code says the same, as an admin's key file: scan it into a file, with a reader that sends nothing \
                    anywhere.";

/// The page as plain text, lines of 80 at most but where address, id or a command is longer.
pub(crate) fn text(kit: &Kit) -> Zeroizing<String> {
    let mut page = Zeroizing::new(String::with_capacity(PAGE_BYTES));
    page.push_str(&TITLE.to_uppercase());
    page.push_str("\n\n");
    wrap(WARNING, "", &mut page);
    page.push('\n');
    kit.write_block(&mut page);
    page.push_str("\nTo get everything back:\n\n");
    let mut number = 0_usize;
    for piece in instructions(kit) {
        match piece {
            Piece::Step(step) => {
                number = number.saturating_add(1);
                wrap(&format!("{number}. {step}"), "   ", &mut page);
            }
            Piece::Command(command) => {
                for line in command.lines() {
                    let _written = writeln!(page, "     {line}");
                }
            }
        }
    }
    page.push('\n');
    wrap(WITHOUT, "", &mut page);
    page
}

/// Characters of a line.
const LINE_CHARS: usize = 80;

/// Adds a paragraph; lines after the first begin with `indent`.
fn wrap(paragraph: &str, indent: &str, page: &mut String) {
    let mut width = 0_usize;
    for word in paragraph.split(' ') {
        let chars = word.chars().count().saturating_add(1);
        if width > 0 && width.saturating_add(chars) > LINE_CHARS.saturating_add(1) {
            let _written = write!(page, "\n{indent}");
            width = indent.len();
        } else if width > 0 {
            page.push(' ');
        }
        page.push_str(word);
        width = width.saturating_add(chars);
    }
    page.push('\n');
}

const HEAD: &str = "<!DOCTYPE html>
<html lang=\"en\">
<head>
<meta charset=\"utf-8\">
<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">
<meta name=\"robots\" content=\"noindex\">
<style>
@page { margin: 14mm }
body { font: 10pt/1.35 sans-serif; color: #000; background: #fff; max-width: 180mm; margin: 0 auto }
h1 { font-size: 15pt; margin: 0 0 2mm }
pre, code { font: 9pt/1.4 monospace; white-space: pre-wrap; overflow-wrap: anywhere }
pre.kit { border: 1pt solid #000; padding: 3mm; margin: 3mm 0; font-size: 10pt }
.warning { border: 2pt solid #000; padding: 2mm 3mm; font-weight: bold }
figure { float: right; width: 50mm; margin: 0 0 2mm 4mm; font-size: 8pt }
.qr { display: block; width: 50mm; height: 50mm }
ol { padding-left: 5mm; margin: 2mm 0 }
li { margin-bottom: 1.2mm }
li code { display: block; margin-left: 2mm; white-space: pre-wrap }
.small { font-size: 8pt }
</style>
";

/// The page as HTML: no script, nothing that is fetched.
pub(crate) fn html(kit: &Kit) -> Zeroizing<String> {
    let mut page = Zeroizing::new(String::with_capacity(PAGE_BYTES));
    let _written = write!(
        page,
        "{HEAD}<title>{TITLE}</title>\n</head>\n<body>\n<h1>{TITLE}</h1>\n<p class=\"warning\">{WARNING}</p>\n\
         <pre class=\"kit\">\n"
    );
    let mut block = Zeroizing::new(String::with_capacity(PAGE_BYTES));
    kit.write_block(&mut block);
    escape_html(&block, &mut page);
    page.push_str("</pre>\n");
    page.push_str("<figure>");
    let drawn = qr::write_svg(&kit.key_file, &mut page);
    let caption = drawn.map_or("The address is too long for a QR code.", |()| CODE);
    escape_html(caption, &mut page);
    page.push_str("</figure>");
    page.push_str("\n<p>To get everything back:</p>\n<ol>\n");
    let mut is_open = false;
    for piece in instructions(kit) {
        match piece {
            Piece::Step(step) => {
                page.push_str(if is_open { "</li>\n<li>" } else { "<li>" });
                escape_html(step, &mut page);
                is_open = true;
            }
            Piece::Command(command) => {
                page.push_str("<code>");
                escape_html(&command, &mut page);
                page.push_str("</code>");
            }
        }
    }
    page.push_str("</li>\n</ol>\n<p class=\"small\">");
    escape_html(WITHOUT, &mut page);
    page.push_str("</p>\n</body>\n</html>\n");
    page
}

/// Letters that mean something in HTML, and how they are written.
const ENTITIES: [(char, &str); 5] = [
    ('&', "&amp;"),
    ('<', "&lt;"),
    ('>', "&gt;"),
    ('"', "&quot;"),
    ('\'', "&#39;"),
];

fn escape_html(text: &str, page: &mut String) {
    for letter in text.chars() {
        match ENTITIES.iter().find(|(plain, _)| *plain == letter) {
            Some((_, entity)) => page.push_str(entity),
            None => page.push(letter),
        }
    }
}

/// Reads what [`escape_html`] wrote, or a browser wrote anew.
pub(super) fn unescape_html(text: &str) -> String {
    let mut plain = text.to_owned();
    // The ampersand last: what it then begins was meant.
    for (letter, entity) in ENTITIES.iter().rev() {
        plain = plain.replace(entity, letter.encode_utf8(&mut [0; 4]));
    }
    plain
}

/// A word for a shell that holds this text and nothing else, in one line.
fn quote_for_shell(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "/:._-+@%".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    if !text.chars().any(super::is_invisible) {
        return format!("'{}'", text.replace('\'', "'\\''"));
    }
    let mut quoted = String::from("$'");
    for letter in text.chars() {
        match letter {
            '\'' | '\\' => quoted.extend(['\\', letter]),
            letter if super::is_invisible(letter) => {
                for byte in letter.encode_utf8(&mut [0; 4]).bytes() {
                    let _written = write!(quoted, "\\x{byte:02x}");
                }
            }
            letter => quoted.push(letter),
        }
    }
    quoted.push('\'');
    quoted
}

#[cfg(test)]
mod tests {
    use super::super::tests::kit;
    use super::*;

    const EVIL: &str = "/x\n</pre><script>alert(1)</script>\" onload='x' &lt;";

    #[test]
    fn an_address_adds_no_line_and_no_markup() {
        for page in [text(&kit(EVIL)), html(&kit(EVIL))] {
            for line in page.lines() {
                assert!(!line.trim_start().starts_with("</pre><"), "{line}");
            }
            let normal = kit("/x");
            let normal = if page.starts_with('<') {
                html(&normal)
            } else {
                text(&normal)
            };
            assert_eq!(page.lines().count(), normal.lines().count());
        }
        let page = html(&kit(EVIL));
        assert!(!page.contains("<script"));
        let tags = |page: &str| page.matches('<').count();
        let drawn = |page: &str| page.matches("<path").count();
        assert_eq!(tags(&page), tags(&html(&kit("/x"))));
        assert_eq!(drawn(&page), 1);
    }

    #[test]
    fn nothing_is_fetched_and_nothing_runs() {
        let page = html(&kit("s3:https://host/bucket"));
        for bad in ["<script", " src=", " href=", "@import", "url("] {
            assert!(!page.contains(bad), "{bad}");
        }
        assert!(page.contains("default-src 'none'"));
    }

    #[test]
    fn the_page_holds_what_a_fresh_machine_needs() {
        let page = text(&kit("s3:https://host/bucket"));
        let id = "ab".repeat(32);
        let restore = format!(
            "     dolmen restore latest --target ./restored \\
       -r s3:https://host/bucket --recovery-kit kit.txt \\
       --repository-id {id}\n"
        );
        for part in [
            &restore,
            "AWS_SECRET_ACCESS_KEY",
            "Made:       2027-01-15T08:00:00Z",
            "can do everything",
        ] {
            assert!(page.contains(part), "{part}\n{}", *page);
        }
        // A sheet has some 60 lines.
        assert!(page.lines().count() <= 58, "{}", *page);
        assert!(text(&kit("/mnt/disk")).contains("mount its disk"));
    }

    #[test]
    fn an_address_that_is_too_long_has_no_qr_code_and_opens_all_the_same() {
        let long = format!("/{}", "x".repeat(4000));
        let page = html(&kit(&long));
        assert!(page.contains("too long for a QR code") && !page.contains("<svg"));
        let read = super::super::ReadKit::parse(&page).unwrap();
        assert_eq!(read.address, Some(long));
    }

    #[test]
    fn a_shell_reads_the_address_and_nothing_else() {
        for address in [
            "/plain/path",
            "/with space",
            "/it's $(here) `and` \"there\" \\",
            "/line\nend\t\u{202e}'\\",
            "",
        ] {
            let script = format!("printf %s {}", quote_for_shell(address));
            assert_eq!(script.lines().count(), 1);
            let mut shell = std::process::Command::new("bash");
            let shell = shell.args(["-c", &script]).output().unwrap();
            assert_eq!(shell.stdout, address.as_bytes(), "{script}");
        }
    }
}
