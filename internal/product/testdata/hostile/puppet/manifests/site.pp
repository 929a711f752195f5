notify { 'hostile': }
