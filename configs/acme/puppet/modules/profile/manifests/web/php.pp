# @summary PHP as a service of its own, with one pool for the sites.
# @param version Debian's version of PHP
# @param children how many requests are worked on at once
# @param memory_limit for one request
class profile::web::php (
  String $version = '8.2',
  Integer[1] $children = 4,
  String $memory_limit = '128M',
) {
  $pools = "/etc/php/${version}/fpm/pool.d"

  # The service comes last: each extension that is installed beside it restarts it, and on a fast
  # machine systemd takes five restarts in a row for a broken service.
  package { ["php${version}-mysql", "php${version}-gd", "php${version}-xml", "php${version}-mbstring"]:
    ensure          => installed,
    install_options => ['--no-install-recommends'],
  }

  -> package { "php${version}-fpm":
    ensure          => installed,
    install_options => ['--no-install-recommends'],
  }

  -> file { "${pools}/www.conf":
    ensure => absent,
    notify => Service['php-fpm'],
  }

  -> file { "${pools}/acme.conf":
    ensure  => file,
    mode    => '0644',
    content => epp('profile/pool.conf.epp', { 'children' => $children, 'memory_limit' => $memory_limit }),
  }

  ~> service { 'php-fpm':
    ensure  => running,
    name    => "php${version}-fpm",
    enable  => true,
    restart => "/bin/systemctl reload php${version}-fpm.service",
  }
}
