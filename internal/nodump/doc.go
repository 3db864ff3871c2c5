// Package nodump keeps the process's memory, which holds opened secrets for
// moments, out of core files and away from other processes of the same user.
package nodump
