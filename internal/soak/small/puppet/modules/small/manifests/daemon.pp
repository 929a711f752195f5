# @summary A daemon that listens on port 8000, once what it needs is prepared.
define small::daemon {
  file { '/etc/small':
    ensure => directory,
  }

  if profile::launched() {
    file { '/etc/small/store':
      ensure  => file,
      content => "${facts['hallmark']['peers'].map |$name, $peer| { $peer['role'] ? { 'store' => $peer['address'], default => '' } }.join('')}\n",
    }
  }

  file { "/usr/local/bin/${name}":
    ensure => file,
    mode   => '0755',
    source => "puppet:///modules/small/${name}.py",
  }

  file { '/etc/systemd/system/prepare.service':
    ensure  => file,
    content => epp('small/prepare.service.epp'),
  }

  file { "/etc/systemd/system/${name}.service":
    ensure  => file,
    content => epp('small/daemon.service.epp', { 'name' => $name }),
  }

  ~> exec { 'systemctl daemon-reload':
    path        => ['/usr/bin', '/bin'],
    refreshonly => true,
    subscribe   => File['/etc/systemd/system/prepare.service'],
  }

  -> service { 'prepare':
    ensure => running,
    enable => true,
  }

  -> service { $name:
    ensure    => running,
    enable    => true,
    subscribe => [File["/usr/local/bin/${name}"], File["/etc/systemd/system/${name}.service"]],
  }
}
