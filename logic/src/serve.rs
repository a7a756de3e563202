/// Bound addresses.
#[derive(Debug)]
pub struct Addresses {}
/// Dependencies.
#[derive(Debug)]
pub struct Deps {}
/// Logic.
#[derive(Debug)]
pub struct Logic {}
/// Stages.
#[derive(Debug)]
pub struct Stages {}
