//! Reads matrices of floats from NumPy array files (numpy.lib.format, versions 1 to 3).

use std::io::Read;

use crate::matrix::Matrix;

/// Limit, larger than any pack's centroids.
const MAX_BYTES: u64 = 1 << 28;

/// Returns the first two-dimensional array of an `.npz`, preferably the one with this name.
pub fn matrix_of_npz(bytes: &[u8], preferred: &str) -> Result<Matrix, String> {
    let mut archive =
        zip::ZipArchive::new(std::io::Cursor::new(bytes)).map_err(|error| error.to_string())?;
    let mut arrays = Vec::new();
    for index in 0..archive.len() {
        let file = archive.by_index(index).map_err(|error| error.to_string())?;
        let name = file.name().map_err(|error| error.to_string())?.into_owned();
        let mut content = Vec::new();
        file.take(MAX_BYTES)
            .read_to_end(&mut content)
            .map_err(|error| error.to_string())?;
        arrays.push((name, content));
    }
    arrays.sort_by_key(|(name, _)| name.trim_end_matches(".npy") != preferred);
    let mut reason = "it contains no array".to_owned();
    for (name, content) in arrays {
        match matrix(&content) {
            Ok(matrix) => return Ok(matrix),
            Err(error) => reason = format!("{name}: {error}"),
        }
    }
    Err(reason)
}

fn matrix(bytes: &[u8]) -> Result<Matrix, String> {
    let (major, rest) = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', major, _, rest @ ..] => (*major, rest),
        _ => return Err("it is not a NumPy array".to_owned()),
    };
    let length_bytes = if major == 1 { 2 } else { 4 };
    let (length, rest) = rest
        .split_at_checked(length_bytes)
        .ok_or("it is truncated")?;
    let length = length
        .iter()
        .rev()
        .fold(0_usize, |length, &byte| length << 8 | usize::from(byte));
    let (header, data) = rest.split_at_checked(length).ok_or("it is truncated")?;
    let header: String = String::from_utf8_lossy(header)
        .chars()
        .filter(|character| !character.is_whitespace())
        .collect();
    if !header.contains("'fortran_order':False") {
        return Err("its order must be C (row-major)".to_owned());
    }
    let shape = header
        .split_once("'shape':(")
        .and_then(|(_, rest)| rest.split_once(')'))
        .map(|(shape, _)| shape.trim_end_matches(',').split(','))
        .ok_or("it has no shape")?
        .map(str::parse::<usize>)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| "its shape is not a list of numbers")?;
    let [height, width] = shape[..] else {
        return Err("it must have two dimensions".to_owned());
    };
    let values: Vec<f32> = if header.contains("'<f4'") {
        let floats = data.as_chunks::<4>().0.iter();
        floats.map(|bytes| f32::from_le_bytes(*bytes)).collect()
    } else if header.contains("'<f8'") {
        let floats = data.as_chunks::<8>().0.iter();
        floats
            .map(|bytes| f64::from_le_bytes(*bytes) as f32)
            .collect()
    } else {
        return Err("its values must be float32 or float64".to_owned());
    };
    if height.checked_mul(width) != Some(values.len()) {
        return Err("it is truncated".to_owned());
    }
    Matrix::new(width, values).ok_or_else(|| "it is empty".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn floats_of_both_sizes_are_read() {
        let header =
            |kind| format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': (1, 2), }}\n");
        let small: Vec<u8> = [1.5_f32, -2.0]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        let large: Vec<u8> = [1.5_f64, -2.0]
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect();
        for (kind, data) in [("<f4", &small), ("<f8", &large)] {
            let matrix = matrix(&npy(&header(kind), data)).unwrap();
            assert_eq!(matrix.row(0), [1.5, -2.0]);
        }
        assert!(matrix(&npy(&header("<f4"), &small[..7])).is_err());
        assert!(matrix(&npy(&header("<i4"), &small)).is_err());
        assert!(matrix(b"PK").is_err());
    }
}
