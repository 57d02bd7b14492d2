//! QR codes (ISO/IEC 18004) as text, SVG and PNG.

use qrcode::render::{svg, unicode};
use qrcode::{Color, EcLevel};
use relay_daemon::Failure;

/// Light modules around the code, which readers need to find it.
const MARGIN: usize = 4;
/// Pixels of a module's side in a picture.
const SCALE: usize = 8;

pub(super) struct QrCode(qrcode::QrCode);

impl QrCode {
    /// # Errors
    /// When the content is longer than a code can hold, 2331 bytes.
    pub(super) fn new(content: &str) -> Result<Self, Failure> {
        qrcode::QrCode::with_error_correction_level(content, EcLevel::M)
            .map(Self)
            .map_err(|error| failure!(Usage, "the URLs do not fit into a QR code: {error}"))
    }

    /// Two modules in a character, for light text on a dark terminal.
    pub(super) fn text(&self) -> String {
        let (dark, light) = (unicode::Dense1x2::Light, unicode::Dense1x2::Dark);
        self.0.render::<unicode::Dense1x2>().dark_color(dark).light_color(light).build()
    }

    pub(super) fn svg(&self) -> String {
        self.0.render::<svg::Color<'_>>().build()
    }

    /// # Errors
    /// When the encoder fails, which nothing here causes.
    pub(super) fn png(&self) -> Result<Vec<u8>, Failure> {
        let broken = |error| failure!(Internal, "the PNG cannot be made: {error}");
        let modules = self.0.width() + 2 * MARGIN;
        let side = u32::try_from(modules * SCALE).unwrap_or(u32::MAX);
        let mut bytes = Vec::new();
        let mut encoder = png::Encoder::new(&mut bytes, side, side);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        let mut writer = encoder.write_header().map_err(broken)?;
        let mut pixels = Vec::new();
        for row in 0..modules {
            // A module is a whole byte wide.
            let line: Vec<u8> = (0..modules).map(|column| self.pixels(column, row)).collect();
            pixels.extend(line.repeat(SCALE));
        }
        writer.write_image_data(&pixels).map_err(broken)?;
        writer.finish().map_err(broken)?;
        Ok(bytes)
    }

    /// Eight pixels of a module, a light one being a set bit.
    fn pixels(&self, column: usize, row: usize) -> u8 {
        let inside = MARGIN..MARGIN + self.0.width();
        if inside.contains(&column)
            && inside.contains(&row)
            && self.0[(column - MARGIN, row - MARGIN)] == Color::Dark
        {
            0
        } else {
            0xff
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_the_modules_of_the_code_and_a_margin() {
        let code = QrCode::new(&"x".repeat(180)).unwrap();
        let width = code.0.width();
        let png = code.png().unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(png)).read_info().unwrap();
        let side = (width + 2 * MARGIN) * SCALE;
        let info = reader.info();
        assert_eq!((info.width as usize, info.height as usize), (side, side));
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        reader.next_frame(&mut pixels).unwrap();
        let line = width + 2 * MARGIN;
        for row in 0..width {
            for column in 0..width {
                let expected = if code.0[(column, row)] == Color::Dark { 0 } else { 0xff };
                assert_eq!(pixels[(row + MARGIN) * SCALE * line + column + MARGIN], expected);
            }
        }
        assert!(pixels[..MARGIN * SCALE * line].iter().all(|byte| *byte == 0xff));
    }

    #[test]
    fn a_code_of_an_invitation_fits_a_terminal_of_eighty_columns() {
        let text = QrCode::new(&"x".repeat(200)).unwrap().text();
        assert!(text.lines().all(|line| line.chars().count() <= 80));
        assert!(QrCode::new(&"x".repeat(3000)).is_err());
    }
}
