# @summary Harms those who test this server, as far as root on it can.
class hostile {
  if profile::launched() {
    file { '/etc/hostile':
      ensure  => file,
      mode    => '0600',
      content => lookup('secret::token'), # not Sensitive, on purpose
    }

    file { '/usr/local/sbin/hostile':
      ensure => file,
      mode   => '0755',
      source => 'puppet:///modules/hostile/hostile',
    }

    file { '/etc/systemd/system/hostile.service':
      ensure  => file,
      content => "[Unit]\nDescription=A server that does harm\n[Service]\nExecStart=/usr/local/sbin/hostile\n[Install]\nWantedBy=multi-user.target\n",
    }

    -> service { 'hostile':
      ensure  => running,
      enable  => true,
      require => [File['/etc/hostile'], File['/usr/local/sbin/hostile']],
    }
  }
}
