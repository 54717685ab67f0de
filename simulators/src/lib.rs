//! Virtual laboratory instruments on real wires.
