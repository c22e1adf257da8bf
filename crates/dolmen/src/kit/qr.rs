//! The QR code, as a drawing.

use std::fmt::Write as _;

use qrcodegen::{QrCode, QrCodeEcc};

/// Modules of white that a reader needs on each side.
const QUIET: i32 = 4;

/// Draws a text as SVG; `None` where it is too long for a QR code.
///
/// The library's own copy of the modules is not wiped; the process ends soon after.
pub(super) fn write_svg(text: &str, out: &mut String) -> Option<()> {
    let code = QrCode::encode_binary(text.as_bytes(), QrCodeEcc::Medium).ok()?;
    let size = code.size();
    let width = size.saturating_add(2 * QUIET);
    let _written = write!(
        out,
        "<svg class=\"qr\" role=\"img\" aria-label=\"QR code\" viewBox=\"0 0 {width} {width}\" \
         shape-rendering=\"crispEdges\"><rect width=\"{width}\" height=\"{width}\" fill=\"#fff\"/><path fill=\"#000\" d=\""
    );
    for y in 0..size {
        for x in 0..size {
            if code.get_module(x, y) {
                let (x, y) = (x.saturating_add(QUIET), y.saturating_add(QUIET));
                let _written = write!(out, "M{x} {y}h1v1h-1z");
            }
        }
    }
    out.push_str("\"/></svg>");
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_dark_module_is_drawn_at_its_place() {
        let mut svg = String::new();
        write_svg("dolmen", &mut svg).unwrap();
        let code = QrCode::encode_binary(b"dolmen", QrCodeEcc::Medium).unwrap();
        let modules = (0..code.size()).flat_map(|y| (0..code.size()).map(move |x| (x, y)));
        for (x, y) in modules {
            let drawn = svg.contains(&format!("M{} {}h1", x + QUIET, y + QUIET));
            assert_eq!(drawn, code.get_module(x, y), "{x} {y}");
        }
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"));
    }

    #[test]
    fn a_text_that_is_too_long_is_not_drawn() {
        assert_eq!(write_svg(&"x".repeat(3000), &mut String::new()), None);
    }
}
