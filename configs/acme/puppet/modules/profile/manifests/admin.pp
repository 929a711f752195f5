# @summary The administrators' account. Its keys come with the environment, so an image has none.
class profile::admin {
  $user = pick($facts['hallmark']['admin']['user'], 'testadmin')

  user { $user:
    ensure         => present,
    comment        => 'Acme administrator',
    home           => "/home/${user}",
    managehome     => true,
    shell          => '/bin/bash',
    groups         => ['adm'],
    purge_ssh_keys => false,
  }

  file { "/etc/sudoers.d/${user}":
    ensure       => file,
    content      => "${user} ALL=(ALL) NOPASSWD:ALL\n",
    mode         => '0440',
    validate_cmd => '/usr/sbin/visudo -cqf %',
  }

  if profile::launched() {
    file { "/home/${user}/.ssh":
      ensure => directory,
      owner  => $user,
      group  => $user,
      mode   => '0700',
    }

    # The keys open the door: they come when the lock is complete.
    file { "/home/${user}/.ssh/authorized_keys":
      ensure  => file,
      owner   => $user,
      group   => $user,
      mode    => '0600',
      content => join($facts['hallmark']['admin']['keys'] + [''], "\n"),
      require => [Class['profile::sshd'], File["/etc/sudoers.d/${user}"]],
    }
  }
}
