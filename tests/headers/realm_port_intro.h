/* realm_port.h - what a port implements: memory and clock of a platform, arithmetic of a backend.
 *
 * A plain user of the library never needs to look in here; ports/README.md is the place to start
 * for who wants to write a port. Tables are copied when they are registered. A slot whose comment
 * starts with (optional) may be NULL, and then does what the comment says. REALM_..._INIT fills in
 * the first two fields of a table; fields are only ever added at the end.
 */

