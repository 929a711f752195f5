# @summary A cache that customers' sites may use, on this server only.
# @param memory in MiB
class profile::memcached (
  Integer[8] $memory = 32,
) {
  package { 'memcached':
    ensure          => installed,
    install_options => ['--no-install-recommends'],
  }

  -> file { '/etc/memcached.conf':
    ensure  => file,
    mode    => '0644',
    content => join([
      '# Managed by Puppet (profile::memcached).',
      'logfile /var/log/memcached.log',
      "-m ${memory}",
      '-p 11211',
      '-u memcache',
      '-l 127.0.0.1',
      '',
    ], "\n"),
  }

  ~> service { 'memcached':
    ensure => running,
    enable => true,
  }
}
