# @summary MariaDB with its data on the volume "data".
# @param database the site's database
# @param user the site's user
# @param buffer_pool memory for data
# @param max_connections how many clients at once
# @param uid of mysql, the same on every server ever launched: the volume remembers it
class profile::db (
  String $database,
  String $user,
  String $buffer_pool = '64M',
  Integer[10] $max_connections = 60,
  Integer $uid = 450,
) {
  group { 'mysql':
    ensure => present,
    gid    => $uid,
    system => true,
  }

  -> user { 'mysql':
    ensure => present,
    uid    => $uid,
    gid    => 'mysql',
    home   => '/nonexistent',
    shell  => '/bin/false',
    system => true,
  }

  if profile::launched() {
    contain profile::db::data
    contain profile::db::server

    User['mysql'] -> Class['profile::db::data'] -> Class['profile::db::server']
  } else {
    contain profile::db::bake

    User['mysql'] -> Class['profile::db::bake']
  }
}
