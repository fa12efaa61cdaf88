//! What only a machine with a CUDA device can show: run with `cargo test --release --features cuda --test cuda`.

mod head;
