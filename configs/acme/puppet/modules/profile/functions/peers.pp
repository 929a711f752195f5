# The addresses of the servers of a role, in the order of their names.
# @param role the role asked for
function profile::peers(String $role) >> Array[String] {
  $servers = $facts['hallmark']['peers'].filter |$name, $peer| { $peer['role'] == $role }
  $servers.keys.sort.map |$name| { $servers[$name]['address'] }
}
