//! A dense matrix, and the vector operations of the request path.

/// Rows of equal length, stored one after the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Matrix {
    width: usize,
    values: Vec<f32>,
}

impl Matrix {
    /// Returns `None` if the values are not whole rows.
    pub fn new(width: usize, values: Vec<f32>) -> Option<Self> {
        (width > 0 && values.len().is_multiple_of(width)).then_some(Self { width, values })
    }

    pub fn from_rows<'a>(width: usize, rows: impl IntoIterator<Item = &'a [f32]>) -> Self {
        let mut values = Vec::new();
        for row in rows {
            assert_eq!(row.len(), width, "rows are of one length");
            values.extend_from_slice(row);
        }
        Self { width, values }
    }

    pub fn width(&self) -> usize {
        self.width
    }

    pub fn height(&self) -> usize {
        self.values.len().checked_div(self.width).unwrap_or(0)
    }

    pub fn values(&self) -> &[f32] {
        &self.values
    }

    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.width..(index + 1) * self.width]
    }

    pub fn row_mut(&mut self, index: usize) -> &mut [f32] {
        &mut self.values[index * self.width..(index + 1) * self.width]
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.width.max(1))
    }

    pub fn is_finite(&self) -> bool {
        self.values.iter().all(|value| value.is_finite())
    }
}

/// Number of parallel sums, which lets the compiler use vector instructions.
const LANES: usize = 16;

/// Returns the dot product. If the lengths differ, only the common part counts.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f32 = a_chunks
        .remainder()
        .iter()
        .zip(b_chunks.remainder())
        .map(|(a, b)| a * b)
        .sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f32>() + rest
}

/// Returns the sum of rows of this width.
pub fn sum<'a>(width: usize, rows: impl IntoIterator<Item = &'a [f32]>) -> Vec<f32> {
    let mut sum = vec![0.0; width];
    for row in rows {
        sum.iter_mut()
            .zip(row)
            .for_each(|(sum, value)| *sum += value);
    }
    sum
}

/// Scales a vector to length one; a zero vector stays as it is.
pub fn normalize(vector: &mut [f32]) {
    let norm = dot(vector, vector).sqrt();
    if norm > 0.0 {
        vector.iter_mut().for_each(|value| *value /= norm);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dot_products_take_every_element() {
        for length in [0, 1, 15, 16, 17, 384] {
            let vector: Vec<f32> = (0..length).map(|index| index as f32).collect();
            let expected: f32 = vector.iter().map(|value| value * value).sum();
            assert!((dot(&vector, &vector) - expected).abs() <= expected * 1e-6);
        }
    }

    #[test]
    fn a_matrix_is_of_whole_rows() {
        assert_eq!(Matrix::new(2, vec![1.0; 3]), None);
        assert_eq!(Matrix::new(0, vec![]), None);
        let matrix = Matrix::new(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        assert_eq!((matrix.height(), matrix.row(1)), (2, &[3.0, 4.0][..]));
    }
}
