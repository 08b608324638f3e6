package checkpoint

// Prune is prune, for the tests outside of the package.
var Prune = prune
